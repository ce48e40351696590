/** The public face: what driver writers, device-model writers and programs that embed the stack import. */

// Writing drivers
export { defineDriver } from "./dev/usb/usbdi.js";
export type * from "./dev/usb/usbdi.js";
export { DescriptorError, ProtocolError, TransferError, UnsupportedError } from "./dev/usb/errors.js";
export { DeviceError, LineSettingsError, WriteError } from "./rump/devsw.js";
export type * from "./rump/devsw.js";

// Running the stack: a kernel on hypercalls, a controller, the bus
export { RumpKernel } from "./rump/kernel.js";
export type * from "./rumpuser/rumpuser.js";
export { createSimulatedRumpuser } from "./rumpuser/simulated.js";
export { attachUsbBus, loadDrivers } from "./dev/usb/attach-bus.js";
export { DRIVERS } from "./dev/usb/drivers.js";
export type * from "./dev/usb/usbdivar.js";
export { createUsbip } from "./dev/usbip/usbip.js";
export { createVhc } from "./dev/vhc/vhc.js";

// A serial adapter for a program of one's own
export { type HostedTty, openTty, type OpenTtyOptions } from "./host/open-tty.js";

// Device models
export type * from "./vdev/model.js";
export { UsbFunction } from "./vdev/function.js";
export { serveModels } from "./vdev/server.js";

// Linking devices to the host
export { createPudHost } from "./pud/host.js";
export { createPudServer } from "./pud/server.js";
export { listenNbd } from "./pud/links/rights/listen-nbd.js";
