/**
 * Embedded events of the CP210x: line status and modem status between the received bytes, behind an escape character.
 *
 * AN571 §5.21 (EMBED_EVENTS). A sequence may be cut by the end of a packet: the decoder keeps its place.
 */
import type { LineError, ModemLine, ModemLines } from "../../../rump/devsw.js";
import type { ChipSink } from "./chip.js";

/** Any character but 0 will do; one that is rare in text costs least. */
export const EVENT_ESCAPE = 0xec;

/** What follows the escape character. */
const EVENT = { ESCAPE_ITSELF: 0, LINE_STATUS_AND_DATA: 1, LINE_STATUS: 2, MODEM_STATUS: 3 } as const;

const ERROR_BITS: readonly (readonly [LineError, number])[] = [
  ["overrun", 0x02],
  ["parity", 0x04],
  ["framing", 0x08],
  ["break", 0x10],
];
const MODEM_BITS: readonly (readonly [ModemLine, number])[] = [
  ["cts", 0x10],
  ["dsr", 0x20],
  ["ri", 0x40],
  ["dcd", 0x80],
];

/** The lines of a modem status byte (AN571 §5.9, GET_MDMSTS). */
export function cpLines(status: number): ModemLines {
  const lines = { cts: false, dsr: false, dcd: false, ri: false };
  for (const [line, bit] of MODEM_BITS) lines[line] = (status & bit) !== 0;
  return lines;
}

type State = "data" | "escape" | "lineStatusAndData" | "lineStatus" | "modemStatus" | "character";

const NEXT: Readonly<Record<number, State>> = {
  [EVENT.LINE_STATUS_AND_DATA]: "lineStatusAndData",
  [EVENT.LINE_STATUS]: "lineStatus",
  [EVENT.MODEM_STATUS]: "modemStatus",
};

export class EventDecoder {
  #state: State = "data";

  decode(packet: Uint8Array, sink: ChipSink): void {
    let from = 0;
    for (let at = 0; at < packet.length; at++) {
      const byte = packet[at] ?? 0;
      if (this.#state === "data") {
        if (byte !== EVENT_ESCAPE) continue;
        sink.data(packet.subarray(from, at));
        this.#state = "escape";
      } else this.#state = this.#event(byte, sink);
      from = at + 1;
    }
    if (this.#state === "data") sink.data(packet.subarray(from));
  }

  reset(): void {
    this.#state = "data";
  }

  /** @returns what the next byte is. */
  #event(byte: number, sink: ChipSink): State {
    switch (this.#state) {
      case "escape":
        if (byte === EVENT.ESCAPE_ITSELF) sink.data(Uint8Array.of(EVENT_ESCAPE));
        // An event that does not exist is left out with its number: what follows is data again.
        return NEXT[byte] ?? "data";
      case "lineStatusAndData":
        tellErrors(byte, sink);
        return "character";
      case "lineStatus":
        tellErrors(byte, sink);
        return "data";
      case "modemStatus":
        sink.lines(cpLines(byte));
        return "data";
      case "character":
        // Whatever it is: here the escape character is not escaped.
        sink.data(Uint8Array.of(byte));
        return "data";
      case "data":
        return "data";
    }
  }
}

function tellErrors(status: number, sink: ChipSink): void {
  for (const [error, bit] of ERROR_BITS) if ((status & bit) !== 0) sink.error(error);
}
