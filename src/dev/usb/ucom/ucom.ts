/**
 * ucom: what all serial adapters have in common (the role of NetBSD's ucom(4)).
 *
 * A driver finds out which chip it has, makes a chip object and calls `attachUcom` for each port. The port is published as
 * ttyU0, ttyU1 …; while nobody has it open no transfer is in flight.
 */
import {
  DeviceError,
  type Tty,
  type TtyInfo,
  type TtyOpen,
  type TtyPort,
  type TtyReceiver,
} from "../../../rump/devsw.js";
import type { RequestOptions } from "../../../rump/devsw.js";
import { UnsupportedError } from "../errors.js";
import type { Attachment, PublishedNode } from "../usbdi.js";
import type { SerialChip, SerialPipes } from "./chip.js";
import { checkSignal } from "./errors.js";
import { UcomPort, type UcomOptions } from "./port.js";
import { infoOf } from "./settings.js";

const CLASS_NAME = "ttyU";

/** Publishes a port. It is closed, and its node goes, when the driver is detached. */
export function attachUcom(at: Attachment<unknown>, chip: SerialChip, pipes: SerialPipes): void {
  const ucom = new Ucom({ at, chip, pipes });
  const gone = (): void => ucom.deviceGone(`${at.name} is detached`);
  at.signal.addEventListener("abort", gone, { once: true });
  at.onDetach(() => at.signal.removeEventListener("abort", gone));
  const node = publish(at, ucom);
  at.onDetach(() => ucom.detach(`${at.name} is detached`));
  const { minBaud, maxBaud } = chip.limits;
  at.log("info", `${node.name}: ${chip.limits.model}, ${minBaud} to ${maxBaud} baud`);
}

/** @throws UnsupportedError when nobody serves serial lines. */
function publish(at: Attachment<unknown>, ucom: Ucom): PublishedNode {
  try {
    return at.publish(CLASS_NAME, ucom);
  } catch (error) {
    if (!(error instanceof DeviceError && error.code === "EOPNOTSUPP")) throw error;
    at.log("warn", `${ucom.info.model} works, but ${error.message}`);
    throw new UnsupportedError(error.message);
  }
}

export class Ucom implements Tty {
  readonly kind = "tty";
  readonly info: TtyInfo;
  readonly #options: UcomOptions;
  /** Somebody has it open, opens or closes it. */
  #busy = false;
  #port: UcomPort | undefined;
  #gone: string | undefined;

  constructor(options: UcomOptions) {
    this.#options = options;
    this.info = infoOf(options.chip);
  }

  async open(how: TtyOpen, receiver: TtyReceiver, options: RequestOptions = {}): Promise<TtyPort> {
    checkSignal(options.signal, "open");
    if (this.#gone !== undefined) throw new DeviceError("ENODEV", `open: ${this.#gone}`);
    if (this.#busy) throw new DeviceError("EBUSY", `open: ${this.info.model} is open already`);
    this.#busy = true;
    const port = await UcomPort.open(this.#options, how, receiver, () => {
      this.#busy = false;
      this.#port = undefined;
    });
    this.#port = port;
    const reason = this.#gone;
    if (reason === undefined && options.signal?.aborted !== true) return port;
    await port.close();
    checkSignal(options.signal, "open");
    throw new DeviceError("ENODEV", `open: ${reason ?? "the port was closed"}`);
  }

  /** The device is leaving: whoever has the port open hears of it now. */
  deviceGone(reason: string): void {
    this.#gone = reason;
    void this.detach(reason);
  }

  /** Resolves when nothing of the port is left. */
  async detach(reason: string): Promise<void> {
    this.#gone = reason;
    await this.#port?.fail(new DeviceError("ENODEV", reason));
  }
}
