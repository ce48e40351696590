/** The standard control requests, by name (USB 2.0 §9.4). */
import { DESCRIPTOR, ENDPOINT_IN, FEATURE, REQUEST, REQUEST_TYPE, setupPacket } from "./usb.js";
import type { ControlRequest } from "./usbdi.js";

const TYPE_BITS = {
  standard: REQUEST_TYPE.STANDARD,
  class: REQUEST_TYPE.CLASS,
  vendor: REQUEST_TYPE.VENDOR,
} as const;
const RECIPIENT_BITS = {
  device: REQUEST_TYPE.DEVICE,
  interface: REQUEST_TYPE.INTERFACE,
  endpoint: REQUEST_TYPE.ENDPOINT,
  other: REQUEST_TYPE.OTHER,
} as const;

/** The 8 setup bytes of a request. */
export function encodeSetup(request: ControlRequest, direction: "in" | "out", lengthBytes: number): Uint8Array {
  return setupPacket.encode({
    bmRequestType: (direction === "in" ? ENDPOINT_IN : 0) | TYPE_BITS[request.type] | RECIPIENT_BITS[request.recipient],
    bRequest: request.request,
    wValue: request.value,
    wIndex: request.index,
    wLength: lengthBytes,
  });
}

function standard(
  recipient: ControlRequest["recipient"],
  request: number,
  value: number,
  index: number,
): ControlRequest {
  return { type: "standard", recipient, request, value, index };
}

export const getDescriptor = (type: number, index = 0, language = 0): ControlRequest =>
  standard("device", REQUEST.GET_DESCRIPTOR, (type << 8) | index, language);

export const getStringDescriptor = (index: number, language: number): ControlRequest =>
  getDescriptor(DESCRIPTOR.STRING, index, language);

export const setAddress = (address: number): ControlRequest => standard("device", REQUEST.SET_ADDRESS, address, 0);

export const setConfiguration = (value: number): ControlRequest =>
  standard("device", REQUEST.SET_CONFIGURATION, value, 0);

export const setInterface = (interfaceNumber: number, alternateSetting: number): ControlRequest =>
  standard("interface", REQUEST.SET_INTERFACE, alternateSetting, interfaceNumber);

export const clearEndpointHalt = (endpointAddress: number): ControlRequest =>
  standard("endpoint", REQUEST.CLEAR_FEATURE, FEATURE.ENDPOINT_HALT, endpointAddress);
