/** USB 2.0 chapter 9 and 11 constants, and the setup packet. Shared by the stack, the controllers and the models. */
import { record, u16le, u8 } from "../../bytes.js";

/** bRequest, USB 2.0 Table 9-4; USB 3.2 Table 9-5. */
export const REQUEST = {
  GET_STATUS: 0,
  CLEAR_FEATURE: 1,
  SET_FEATURE: 3,
  SET_ADDRESS: 5,
  GET_DESCRIPTOR: 6,
  SET_DESCRIPTOR: 7,
  GET_CONFIGURATION: 8,
  SET_CONFIGURATION: 9,
  GET_INTERFACE: 10,
  SET_INTERFACE: 11,
  SYNCH_FRAME: 12,
  SET_SEL: 48,
  SET_ISOCH_DELAY: 49,
} as const;

/** bDescriptorType, USB 2.0 Table 9-5; USB 3.2 Table 9-6; the hub's from §11.23.2.1. */
export const DESCRIPTOR = {
  DEVICE: 1,
  CONFIGURATION: 2,
  STRING: 3,
  INTERFACE: 4,
  ENDPOINT: 5,
  DEVICE_QUALIFIER: 6,
  OTHER_SPEED_CONFIGURATION: 7,
  INTERFACE_ASSOCIATION: 11,
  BOS: 15,
  DEVICE_CAPABILITY: 16,
  HUB: 0x29,
  SUPERSPEED_HUB: 0x2a,
  SS_ENDPOINT_COMPANION: 48,
} as const;

/** bmRequestType, USB 2.0 Table 9-2. */
export const REQUEST_TYPE = {
  IN: 0x80,
  TYPE_MASK: 0x60,
  STANDARD: 0x00,
  CLASS: 0x20,
  VENDOR: 0x40,
  RECIPIENT_MASK: 0x1f,
  DEVICE: 0,
  INTERFACE: 1,
  ENDPOINT: 2,
  OTHER: 3,
} as const;

/** Feature selectors, USB 2.0 Table 9-6. */
export const FEATURE = { ENDPOINT_HALT: 0, DEVICE_REMOTE_WAKEUP: 1, TEST_MODE: 2 } as const;

/** Class codes that the stack itself looks at (USB-IF class code list). */
export const CLASS = { PER_INTERFACE: 0x00, HUB: 0x09, MASS_STORAGE: 0x08, VENDOR: 0xff } as const;

/** Endpoint address bits, USB 2.0 Table 9-13. */
export const ENDPOINT_IN = 0x80;
export const ENDPOINT_NUMBER_MASK = 0x0f;

/** bmAttributes bits 1..0 of an endpoint, USB 2.0 Table 9-13. */
export const TRANSFER_TYPES = ["control", "isochronous", "bulk", "interrupt"] as const;

/** Hub class feature selectors, USB 2.0 Table 11-17. */
export const HUB_FEATURE = {
  PORT_CONNECTION: 0,
  PORT_ENABLE: 1,
  PORT_SUSPEND: 2,
  PORT_OVER_CURRENT: 3,
  PORT_RESET: 4,
  PORT_POWER: 8,
  PORT_LOW_SPEED: 9,
  C_PORT_CONNECTION: 16,
  C_PORT_ENABLE: 17,
  C_PORT_SUSPEND: 18,
  C_PORT_OVER_CURRENT: 19,
  C_PORT_RESET: 20,
} as const;

/** wPortStatus, USB 2.0 Table 11-21. */
export const PORT_STATUS = {
  CONNECTION: 1 << 0,
  ENABLE: 1 << 1,
  SUSPEND: 1 << 2,
  OVER_CURRENT: 1 << 3,
  RESET: 1 << 4,
  POWER: 1 << 8,
  LOW_SPEED: 1 << 9,
  HIGH_SPEED: 1 << 10,
} as const;

/** wPortChange, USB 2.0 Table 11-22. */
export const PORT_CHANGE = {
  CONNECTION: 1 << 0,
  ENABLE: 1 << 1,
  SUSPEND: 1 << 2,
  OVER_CURRENT: 1 << 3,
  RESET: 1 << 4,
} as const;

/** The setup packet, USB 2.0 §9.3, Table 9-2. */
export const setupPacket = record("setup packet", "USB 2.0 §9.3", {
  bmRequestType: u8,
  bRequest: u8,
  wValue: u16le,
  wIndex: u16le,
  wLength: u16le,
});
export type SetupPacket = ReturnType<typeof setupPacket.decode>;

/** English (United States), the language nearly every device has (USB LANGIDs 1.0). */
export const LANGID_EN_US = 0x0409;
