/** A machine with a serial adapter and a far end (mortal-machine.ts). */
import { uftdi } from "../../src/dev/usb/ucom/uftdi.js";
import type { Driver } from "../../src/dev/usb/usbdi.js";
import { HostLine } from "../../src/pud/host-tty-line.js";
import type { Tty } from "../../src/rump/devsw.js";
import { FtdiModel } from "../../src/vdev/serial-ftdi.js";
import type { SerialModel, SerialOptions } from "../../src/vdev/serial-model.js";
import { Uart } from "../../src/vdev/serial-uart.js";
import { MortalMachine } from "./mortal-machine.js";

const FAR_BYTES = 64 * 1024;

/** An adapter, and the driver that it needs. */
export interface TtyChip {
  readonly driver: Driver;
  readonly make: (options: SerialOptions) => SerialModel;
}

const FT232R: TtyChip = { driver: uftdi, make: (options) => new FtdiModel("ft232r", options) };

export class TtyMachine extends MortalMachine {
  /** The other end of the line. */
  readonly far: Uart;
  /** What has arrived there. */
  readonly arrived: Uint8Array[] = [];
  readonly adapter: SerialModel;
  #streamParts: number | undefined;

  constructor(seed: number, { driver, make }: TtyChip = FT232R) {
    super(seed, {
      host: { replug: { journalBytes: 0 }, loadTtyLine: async () => HostLine },
      life: { drivers: [driver] },
      mayThrow: ({ endpointAddress }) => endpointAddress !== 0 && endpointAddress < 0x80,
    });
    const { clock } = this.sim;
    this.adapter = make({ clock, wiring: "open" });
    this.far = new Uart({ clock, paced: false, transmitBytes: FAR_BYTES, receiveBytes: FAR_BYTES });
    Uart.connect(this.adapter.port(0).uart, this.far);
    this.far.configure({ flow: "rtsCts", baud: 115_200 });
    this.far.setOutputs({ dtr: true, rts: true });
    this.far.onChange(() => {
      if (this.far.receive.length > 0) this.arrived.push(this.far.takeReceived(FAR_BYTES));
    });
    this.begin(this.adapter);
  }

  /** The line, when it is there. */
  async tty(): Promise<Tty> {
    const device = await this.served();
    if (device.kind !== "tty") throw new Error(`a ${device.kind} in place of the line; ${this.story()}`);
    return device;
  }

  /** Sends this from the far end, as the adapter takes it. */
  sendFromFar(data: Uint8Array): void {
    this.far.transmit.push(data);
    this.far.run();
  }

  /** What arrives from now on is no data: a break is read as a character. */
  endStream(): void {
    this.#streamParts = this.arrived.length;
  }

  /** What has arrived. */
  stream(): Buffer {
    return Buffer.concat(this.arrived.slice(0, this.#streamParts));
  }

  end(): void {
    this.stopHost("the test is over");
  }

  protected losePower(): void {
    this.adapter.unplug();
    this.adapter.reset();
  }
}
