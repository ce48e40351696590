/** Errors as `@serialport/stream` reads them. */
import type { BindingsErrorInterface } from "./interface.js";

/** The port was closed meanwhile: any other error of a read or a write means to the stream that the device has gone. */
export class CanceledError extends Error implements BindingsErrorInterface {
  readonly canceled = true;

  constructor(what: string) {
    super(`${what}: the port was closed`);
    this.name = "CanceledError";
  }
}
