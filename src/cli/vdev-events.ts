/** What `rumpusb vdev` prints of the things that happen at the device: for people as a line, for programs as JSON. */
import type { BusEvent } from "../vdev/bus-events.js";
import { UsbFunction } from "../vdev/function.js";
import type { DeviceModel } from "../vdev/model.js";
import type { Output } from "./output.js";

interface TellOptions {
  readonly json: boolean;
  /** Control requests are told, too. */
  readonly requests: boolean;
}

/** @returns stops telling. */
export function tellBusEvents(model: DeviceModel, options: TellOptions, output: Output): () => void {
  if (!(model instanceof UsbFunction)) return () => {};
  return model.observe((event) => {
    const told = describe(event, options);
    if (told === undefined) return;
    const { text, ...fields } = told;
    if (options.json) output.data(JSON.stringify(fields));
    else if (text !== undefined) output.data(text);
  });
}

interface Told {
  readonly event: string;
  /** Undefined: for programs alone. */
  readonly text: string | undefined;
  readonly [field: string]: unknown;
}

function describe(event: BusEvent, { requests }: TellOptions): Told | undefined {
  switch (event.kind) {
    case "unplugged":
      return { event: "unplugged", text: undefined };
    case "line":
      return describeLine(event);
    case "control":
      return requests ? describeRequest(event) : undefined;
    default:
      return undefined;
  }
}

const LETTERS = { none: "N", odd: "O", even: "E", mark: "M", space: "S" } as const;
const FLOWS = { none: "", rtsCts: ", RTS/CTS", xonXoff: ", XON/XOFF" } as const;

/** `port 0: 9600 7E2, RTS/CTS; DTR RTS` */
function describeLine({ port, settings, outputs }: BusEvent & { readonly kind: "line" }): Told {
  const { dataBits, parity, stopBits, flow } = settings;
  const { dtr, rts, breaking } = outputs;
  const baud = Math.round(settings.baud);
  const raised = [dtr ? " DTR" : "", rts ? " RTS" : "", breaking ? " break" : ""].join("");
  const frame = `${dataBits}${LETTERS[parity]}${stopBits}`;
  return {
    event: "line",
    port,
    baud,
    dataBits,
    parity,
    stopBits,
    flowControl: flow,
    dtr,
    rts,
    breaking,
    text: `port ${port}: ${baud} ${frame}${FLOWS[flow]};${raised === "" ? " all low" : raised}`,
  };
}

/** `40 03 4138 0000`: bmRequestType, bRequest, wValue, wIndex; then the data stage, and `stalled` where it was. */
function describeRequest({ setup, status, data }: BusEvent & { readonly kind: "control" }): Told {
  const { bmRequestType, bRequest, wValue, wIndex } = setup;
  const words = [hex(bmRequestType, 2), hex(bRequest, 2), hex(wValue, 4), hex(wIndex, 4)].join(" ");
  const bytes = Buffer.from(data).toString("hex");
  const text = [words, ...(bytes === "" ? [] : [bytes]), ...(status === "ok" ? [] : [status])].join(" ");
  return { event: "request", setup: words, data: bytes, status, text };
}

function hex(value: number, digits: number): string {
  return value.toString(16).padStart(digits, "0");
}
