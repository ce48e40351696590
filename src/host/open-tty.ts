/**
 * A serial adapter for a program of one's own: `openTty("0403:6001")` drives it as `rumpusb run` does, in a locked process of
 * its own, and gives the line to the caller in place of a link. Nothing of it appears on the host.
 */
import type { Link } from "../pud/links/links.js";
import type { Tty } from "../rump/devsw.js";
import type { DriverEntry } from "../dev/usb/driver-modules.js";
import { HostError } from "./errors.js";
import type { EmitEvent } from "./events.js";
import { RumpHost } from "./host.js";
import { runtimeDirOfUser } from "./runtime-dir.js";
import { createSandbox, type Sandbox } from "./sandbox/sandbox.js";
import { parseSelector } from "./selector.js";

export interface OpenTtyOptions {
  /** Take the device from its kernel driver, and give it back at the end. */
  readonly take?: boolean;
  /** How long an unplugged device is waited for, with the line open. Default 5000; 0 = not at all. */
  readonly graceMs?: number;
  /** Default: that of `rumpusb run`. */
  readonly runtimeDir?: string;
  /** What `rumpusb run --json` prints. */
  readonly emit?: EmitEvent;
  /** Default: the sandbox of `rumpusb run`. */
  readonly sandbox?: Sandbox;
  readonly drivers?: readonly DriverEntry[];
  /** Script to run in place of the rump process; for tests. */
  readonly rumpScript?: string;
}

/** The line, and what drives it. */
export interface HostedTty extends AsyncDisposable {
  /** "ttyU0" */
  readonly name: string;
  readonly tty: Tty;
  /** Ends the driver's process, and gives the device back. Idempotent; an open port ends with ENODEV. */
  readonly close: () => Promise<void>;
}

/**
 * @param selector  As on the command line of `rumpusb run`. Of several lines the first one is taken.
 * @throws HostError USAGE, NO_SUCH_DEVICE, NO_DRIVER …: nothing is left behind.
 */
export async function openTty(selector: string, options: OpenTtyOptions = {}): Promise<HostedTty> {
  const lines: { readonly name: string; readonly tty: Tty }[] = [];
  const link: Link = {
    kind: "program",
    serve: (name, device) => {
      if (device.kind === "tty") lines.push({ name, tty: device });
      return Promise.resolve({ uri: `program:${name}`, remove: () => Promise.resolve() });
    },
    close: () => Promise.resolve(),
  };
  const host = await RumpHost.open({
    selectors: [parseSelector(selector)],
    links: [],
    ownLinks: [link],
    take: options.take === true,
    readOnly: false,
    ...(options.graceMs === undefined ? {} : { graceMs: options.graceMs }),
    runtimeDir: options.runtimeDir ?? runtimeDirOfUser(),
    emit: options.emit ?? (() => undefined),
    sandbox: options.sandbox ?? createSandbox({ profile: "standard", extraPaths: [] }),
    drivers: options.drivers ?? [],
    ...(options.rumpScript === undefined ? {} : { rumpScript: options.rumpScript }),
  });
  const close = async (): Promise<void> => void (await host.shutdown("the program has closed the line"));
  try {
    const failure = await host.start();
    if (failure !== undefined) throw failure;
    // A line of a device that has attached has been served by now.
    const [line] = lines;
    if (line === undefined) throw new HostError("NO_DRIVER", `${selector}: there is no serial line in it`);
    return { ...line, close, [Symbol.asyncDispose]: close };
  } catch (error) {
    await close();
    throw error;
  }
}
