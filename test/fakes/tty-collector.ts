import type { DeviceError, TtyReceiver, TtyStatus } from "../../src/rump/devsw.js";

/** What a receiver was told; throws when it is told what cannot be. */
export class Collector implements TtyReceiver {
  readonly parts: Uint8Array[] = [];
  readonly statuses: TtyStatus[] = [];
  closedWith: DeviceError | undefined;
  #bytes = 0;
  onData: (data: Uint8Array) => void = () => undefined;

  get bytes(): number {
    return this.#bytes;
  }

  get data(): Buffer {
    return Buffer.concat(this.parts);
  }

  received(data: Uint8Array): void {
    if (this.closedWith !== undefined) throw new Error("received after closed");
    if (data.length === 0) throw new Error("received nothing");
    this.parts.push(data.slice());
    this.#bytes += data.length;
    this.onData(data);
  }

  changed(status: TtyStatus): void {
    if (this.closedWith !== undefined) throw new Error("changed after closed");
    this.statuses.push(status);
  }

  closed(error: DeviceError): void {
    if (this.closedWith !== undefined) throw new Error("closed twice");
    this.closedWith = error;
  }
}
