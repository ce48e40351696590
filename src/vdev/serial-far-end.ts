/**
 * Programs at the far end of a line. A listener takes whatever it hears; a talker also sends without a pause while DTR is on:
 * bytes that count from 0 to 255 and on.
 */
import type { Clock } from "../rumpuser/rumpuser.js";
import { Uart } from "./serial-uart.js";

const BUFFER_BYTES = 4096;

/** Connects one to the port; it follows the port's settings. Bytes take their time: nothing else would bound a talker. */
export function connectFarEnd(port: Uart, clock: Clock, talks: boolean): void {
  const farEnd = new Uart({ clock, paced: true, transmitBytes: BUFFER_BYTES, receiveBytes: BUFFER_BYTES });
  let settings = farEnd.settings;
  let next = 0;
  Uart.connect(port, farEnd);
  farEnd.setOutputs({ dtr: true, rts: true });
  farEnd.onChange(() => {
    farEnd.takeReceived(farEnd.receive.length);
    if (settings !== port.settings) {
      settings = port.settings;
      farEnd.configure(settings);
    }
    if (!farEnd.inputs.dsr) farEnd.transmit.clear();
    else if (talks) next = (next + farEnd.transmit.push(countingFrom(next, farEnd.transmit.room))) % 256;
  });
}

function countingFrom(first: number, bytes: number): Uint8Array {
  return Uint8Array.from({ length: bytes }, (_, at) => first + at);
}
