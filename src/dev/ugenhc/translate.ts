/**
 * Standard requests that must not go to the device behind the back of the operating system that has enumerated it.
 *
 * Everything else passes. The host OS keeps track of a device's address, configuration, alternate settings and data
 * toggles (USB 2.0 §9.1, §5.8.5); these four requests change them, so each becomes the call by which the OS does the
 * same. A request of these to a recipient that it is not defined for (Table 9-3), or with a data stage, is refused here as
 * a device would (§9.2.7): firmware that does not look at the recipient would carry it out.
 */
import type { PortResult, TransferStatus, UsbPort } from "../../rumpuser/rumpuser.js";
import { ENDPOINT_NUMBER_MASK, FEATURE, REQUEST, REQUEST_TYPE, type SetupPacket } from "../usb/usb.js";

/** What becomes of a control request. */
export type Translation =
  | { readonly kind: "pass" }
  | { readonly kind: "stall" }
  | { readonly kind: "setAddress"; readonly address: number }
  | { readonly kind: "call"; readonly run: (port: UsbPort) => Promise<PortResult> };

interface Rule {
  readonly bRequest: number;
  /** The one it is defined for. */
  readonly recipient: number;
  /** Others may have the same request, which is none of ours (CLEAR_FEATURE). */
  readonly othersPass?: boolean;
  translate(setup: SetupPacket): Translation;
}

const PASS: Translation = { kind: "pass" };
const STALL: Translation = { kind: "stall" };

/** USB 2.0 §9.4.6: addresses have seven bits. */
const MAX_ADDRESS = 127;
/** bConfigurationValue, bInterfaceNumber and bAlternateSetting are bytes (Tables 9-10, 9-12). */
const MAX_BYTE = 0xff;

const RULES: readonly Rule[] = [
  {
    bRequest: REQUEST.SET_ADDRESS,
    recipient: REQUEST_TYPE.DEVICE,
    translate: ({ wValue }) => (wValue <= MAX_ADDRESS ? { kind: "setAddress", address: wValue } : STALL),
  },
  {
    bRequest: REQUEST.SET_CONFIGURATION,
    recipient: REQUEST_TYPE.DEVICE,
    translate: ({ wValue }) =>
      wValue <= MAX_BYTE ? { kind: "call", run: (port) => selectConfiguration(port, wValue) } : STALL,
  },
  {
    bRequest: REQUEST.SET_INTERFACE,
    recipient: REQUEST_TYPE.INTERFACE,
    translate: ({ wValue, wIndex }) =>
      wValue <= MAX_BYTE && wIndex <= MAX_BYTE
        ? { kind: "call", run: (port) => port.setInterface(wIndex, wValue) }
        : STALL,
  },
  {
    bRequest: REQUEST.CLEAR_FEATURE,
    recipient: REQUEST_TYPE.ENDPOINT,
    othersPass: true,
    // The default pipe has no toggle that the OS keeps, and usbfs refuses to clear it: the device may answer itself.
    translate: ({ wValue, wIndex }) =>
      wValue === FEATURE.ENDPOINT_HALT && (wIndex & ENDPOINT_NUMBER_MASK) !== 0
        ? { kind: "call", run: (port) => port.clearHalt(wIndex & MAX_BYTE) }
        : PASS,
  },
];

/** Decides what becomes of a request. Never throws, whatever the setup packet says. */
export function translate(setup: SetupPacket): Translation {
  const { bmRequestType, bRequest, wLength } = setup;
  if ((bmRequestType & REQUEST_TYPE.TYPE_MASK) !== REQUEST_TYPE.STANDARD) return PASS;
  const rule = RULES.find((r) => r.bRequest === bRequest);
  if (rule === undefined) return PASS;
  // The direction bit is not looked at: without a data stage it means nothing (USB 2.0 §9.3.1).
  if ((bmRequestType & REQUEST_TYPE.RECIPIENT_MASK) !== rule.recipient) return rule.othersPass === true ? PASS : STALL;
  return wLength === 0 ? rule.translate(setup) : STALL;
}

/**
 * Selecting what is selected already would take the interfaces from whoever has claimed them, and Linux refuses it then;
 * the device is where the request wants it.
 */
async function selectConfiguration(port: UsbPort, value: number): Promise<PortResult> {
  return (await port.configuration()) === value ? "ok" : await port.setConfiguration(value);
}

/** How the request ends for the stack. "notFound" and "invalid": no such setting, which a device answers by a stall. */
export const STATUS_OF_RESULT: Readonly<Record<PortResult, TransferStatus>> = {
  ok: "ok",
  io: "error",
  invalid: "stalled",
  access: "error",
  disconnected: "disconnected",
  notFound: "stalled",
  busy: "error",
  timedOut: "timedOut",
  overflow: "overflow",
  stalled: "stalled",
  interrupted: "error",
  noMemory: "error",
  unsupported: "error",
  other: "error",
};
