/** What CDC descriptors and notifications say: CDC 1.2 §5.2.3, PSTN 1.2 §5.3 and §6.5. */
import { record, u16le, u8 } from "../../../bytes.js";
import type { LineError } from "../../../rump/devsw.js";
import type { ChipSink } from "./chip.js";

/** bDescriptorType and bDescriptorSubtype, CDC 1.2 Tables 12 and 13. */
const CS_INTERFACE = 0x24;
const SUBTYPE = { CALL_MANAGEMENT: 0x01, ACM: 0x02, UNION: 0x06 } as const;
/** bmCapabilities of the ACM descriptor, PSTN 1.2 Table 4. */
const CAPABILITY = { LINE_CODING: 1 << 1, BREAK: 1 << 2 } as const;

export interface AcmFunction {
  /** SET_LINE_CODING, SET_CONTROL_LINE_STATE and SERIAL_STATE are there. */
  readonly hasLineCoding: boolean;
  readonly hasBreak: boolean;
  /** Where the union, or else call management, says that the data is; undefined: nothing says it. */
  readonly dataInterface: number | undefined;
}

/** Reads the functional descriptors of a control interface. Those that are too short or unknown count for nothing. */
export function acmFunctionOf(descriptors: readonly Uint8Array[], interfaceNumber: number): AcmFunction {
  const find = (subtype: number, bytes: number): Uint8Array | undefined =>
    descriptors.find((one) => one[1] === CS_INTERFACE && one[2] === subtype && one.length >= bytes);
  const capabilities = find(SUBTYPE.ACM, 4)?.[3];
  const union = find(SUBTYPE.UNION, 5);
  const callManagement = find(SUBTYPE.CALL_MANAGEMENT, 5);
  // Some devices name themselves as the data interface, or swap the two.
  const named = [union?.[4], union?.[3], callManagement?.[4]].find(
    (one) => one !== undefined && one !== interfaceNumber,
  );
  return {
    // A device without the descriptor is asked, and may stall.
    hasLineCoding: capabilities === undefined || (capabilities & CAPABILITY.LINE_CODING) !== 0,
    hasBreak: capabilities === undefined || (capabilities & CAPABILITY.BREAK) !== 0,
    dataInterface: named,
  };
}

/** CDC 1.2 §6.3: the head of a notification. */
const notificationHead = record("notification", "CDC 1.2 §6.3", {
  bmRequestType: u8,
  bNotificationType: u8,
  wValue: u16le,
  wIndex: u16le,
  wLength: u16le,
});
const NOTIFICATION_REQUEST_TYPE = 0xa1;
const SERIAL_STATE = 0x20;
/** SERIAL_STATE has two; no notification of the subclass has more (PSTN 1.2 §6.5). */
const MAX_NOTIFICATION_DATA = 64;

/** The state bits, PSTN 1.2 Table 31. There is no CTS. */
const STATE = { DCD: 1 << 0, DSR: 1 << 1, RING: 1 << 3 } as const;
const ERROR_BITS: readonly (readonly [LineError, number])[] = [
  ["break", 1 << 2],
  ["framing", 1 << 4],
  ["parity", 1 << 5],
  ["overrun", 1 << 6],
];

/** Puts notifications together again that come in several packets (a packet may have 8 bytes, a notification has 10). */
export class NotificationReader {
  readonly #bytes = new Uint8Array(notificationHead.size + MAX_NOTIFICATION_DATA);
  #length = 0;

  /** A head that cannot be drops what there is; so does one that claims more than any notification has. */
  read(packet: Uint8Array, sink: ChipSink): void {
    if (packet[0] === NOTIFICATION_REQUEST_TYPE && packet.length >= notificationHead.size) this.#length = 0;
    const part = packet.subarray(0, this.#bytes.length - this.#length);
    this.#bytes.set(part, this.#length);
    this.#length += part.length;
    if (this.#length < notificationHead.size) return;
    const head = notificationHead.decode(this.#bytes);
    const wrong = head.bmRequestType !== NOTIFICATION_REQUEST_TYPE || head.wLength > MAX_NOTIFICATION_DATA;
    const whole = notificationHead.size + head.wLength;
    if (!wrong && this.#length < whole) return;
    this.#length = 0;
    if (!wrong && head.bNotificationType === SERIAL_STATE && head.wLength >= 2)
      tellState(this.#bytes[notificationHead.size] ?? 0, sink);
  }
}

function tellState(state: number, sink: ChipSink): void {
  const has = (bit: number): boolean => (state & bit) !== 0;
  sink.lines({ dcd: has(STATE.DCD), dsr: has(STATE.DSR), ri: has(STATE.RING) });
  for (const [error, bit] of ERROR_BITS) if (has(bit)) sink.error(error);
}
