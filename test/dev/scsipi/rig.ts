/** A fake target with its units attached. */
import { attachScsibus, type ScsibusResult } from "../../../src/dev/scsipi/scsibus.js";
import type { ScsiQuirks } from "../../../src/dev/scsipi/transport.js";
import type { Disk } from "../../../src/rump/devsw.js";
import { FakeHost, FakeTarget, type TargetOptions } from "./fake-target.js";

export interface Rig {
  readonly target: FakeTarget;
  readonly host: FakeHost;
  readonly result: ScsibusResult;
  /** The disk that was published last. */
  readonly disk: Disk;
  /** Runs virtual time until the promise has settled. */
  readonly settle: <T>(promise: Promise<T>) => Promise<T>;
}

/** `prepare` may replace answers before the first command comes. */
export async function attachTarget(
  options: TargetOptions = {},
  prepare: (target: FakeTarget) => void = () => {},
  quirks: ScsiQuirks = {},
): Promise<Rig> {
  const target = new FakeTarget(options);
  const host = new FakeHost();
  prepare(target);
  const result = await host.clock.runUntil(attachScsibus(target, host, quirks));
  return {
    target,
    host,
    result,
    get disk() {
      return host.disk();
    },
    settle: (promise) => host.clock.runUntil(promise),
  };
}
