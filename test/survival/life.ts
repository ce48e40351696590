/**
 * A rump process on the simulated host: kernel, stack, driver and the server half of pud, which can be killed, frozen, or
 * made to throw at any moment, as a whole, as a process is.
 */
import { attachUsbBus } from "../../src/dev/usb/attach-bus.js";
import type { Driver, DriverOptions } from "../../src/dev/usb/usbdi.js";
import { createUgenhc } from "../../src/dev/ugenhc/ugenhc.js";
import { createPudServer } from "../../src/pud/server.js";
import { RumpKernel } from "../../src/rump/kernel.js";
import type { ByteStream, Clock, LogEntry, Rumpuser } from "../../src/rumpuser/rumpuser.js";
import type { DeviceModel } from "../../src/vdev/model.js";
import { ModelPort } from "../dev/ugenhc/model-port.js";
import { STORAGE_DRIVERS } from "../dev/usb/ways.js";

export interface LifeOptions {
  readonly rumpuser: Rumpuser;
  /** The device as the OS shows it: configured. */
  readonly model: DeviceModel;
  /** Its end of the channel. */
  readonly stream: ByteStream;
  readonly interrupted: boolean;
  /** What it shares with the host. */
  readonly memory?: ArrayBuffer | undefined;
  /** Default: those of storage. */
  readonly drivers?: readonly Driver[];
  readonly driverOptions?: Record<string, DriverOptions>;
  /** Called before each frame in or out; may end the life or throw. */
  readonly onFrame: () => void;
  /** Notes what it logs. */
  readonly onLog: (entry: LogEntry) => void;
}

export class Life {
  readonly #options: LifeOptions;
  readonly #clock: Clock;
  readonly #port: ModelPort;
  #state: "running" | "frozen" | "dead" = "running";

  constructor(options: LifeOptions) {
    this.#options = options;
    this.#clock = this.#mortalClock(options.rumpuser.clock);
    this.#port = new ModelPort(options.model, this.#clock);
  }

  get isDead(): boolean {
    return this.#state === "dead";
  }

  /** Boots it. What goes wrong ends it, or is told over pud. */
  start(): void {
    void this.#boot().catch(() => this.die());
  }

  /** SIGKILL: the OS takes its transfers back and closes its end of the channel. */
  die(): void {
    if (this.#state === "dead") return;
    this.#state = "dead";
    this.#port.close();
    this.#options.stream.close();
  }

  /** SIGSTOP, or an endless loop: what it submitted goes on, and nothing reaches it. */
  freeze(): void {
    if (this.#state === "running") this.#state = "frozen";
  }

  async #boot(): Promise<void> {
    const { rumpuser, interrupted, onLog, drivers = STORAGE_DRIVERS, driverOptions = {}, memory } = this.#options;
    const clock = this.#clock;
    const log = { write: onLog };
    const kernel = new RumpKernel({ ...rumpuser, clock, log });
    const server = createPudServer(this.#mortalStream(), {
      clock,
      log,
      memory,
      onLost: () => this.die(),
      onBug: () => this.die(),
    });
    server.onShutdown(() => kernel.shutdown());
    const served = new Map<string, { remove(reason: string): void }>();
    kernel.listen({
      added: ({ name, className, device }) => served.set(name, server.publish(className, device)),
      removed: ({ name }, reason) => served.get(name)?.remove(reason),
    });
    await attachUsbBus({
      kernel,
      controller: createUgenhc(this.#port, { name: "ugenhc0", clock }),
      drivers,
      driverOptions,
      interrupted,
      onAttach: ({ identity, driver, interfaceNumber }) =>
        server.announceDevice({ ...identity, driver, interfaceNumber }),
      onDemotion: (mode, reason) => server.announceDemotion({ mode, reason }),
      onUnplug: () => void kernel.shutdown().then(() => server.close()),
    });
    server.ready();
  }

  /** Runs what belongs to the process; an exception that nobody catches ends it. */
  #run(act: () => void): void {
    if (this.#state !== "running") return;
    try {
      act();
    } catch {
      this.die();
    }
  }

  #mortalClock(clock: Clock): Clock {
    return {
      nowMs: () => clock.nowMs(),
      startTimer: (delayMs, fire) => clock.startTimer(delayMs, () => this.#run(fire)),
    };
  }

  #mortalStream(): ByteStream {
    const { stream, onFrame } = this.#options;
    return {
      onData: (read) =>
        stream.onData((chunk) =>
          this.#run(() => {
            onFrame();
            if (this.#state === "running") read(chunk);
          }),
        ),
      onClose: (closed) => stream.onClose((reason) => this.#run(() => closed(reason))),
      onDrain: (drained) => stream.onDrain(() => this.#run(drained)),
      write: (parts) => {
        // Frames are written in a microtask: what is thrown there, nobody could catch.
        this.#run(onFrame);
        return this.#state === "running" ? stream.write(parts) : true;
      },
      pause: () => stream.pause(),
      resume: () => stream.resume(),
      close: () => {
        if (this.#state === "running") this.die();
      },
      destroy: () => {
        if (this.#state === "running") this.die();
      },
    };
  }
}
