/**
 * The thirteen cases of BOT 1.0 §6.7: what a device does when the host's CBW and the command disagree about the data.
 *
 * | host \ device | none (Dn)                | in (Di)                                 | out (Do)                             |
 * | none (Hn)     | 1                        | 2 phase error                           | 3 phase error                        |
 * | in (Hi)       | 4 short                  | 5 short, 6 equal, 7 all, phase error    | 8 stall, phase error                 |
 * | out (Ho)      | 9 accept or stall        | 10 stall, phase error                   | 11 accept or stall, 12, 13 as 10     |
 */

export interface DataIntent {
  readonly direction: "in" | "out";
  readonly bytes: number;
}

/** How a stage that is shorter than the host expects is ended. */
export interface StageStyle {
  /**
   * Cases 4 and 5: halt Bulk-In after the data, fill up with zeroes (both BOT 1.0 §6.7.2), or only a short packet, as many
   * devices do and no host may mind.
   */
  readonly shortIn: "stall" | "pad" | "short";
  /** Cases 9 and 11: take what is too much and drop it, or halt Bulk-Out. */
  readonly excessOut: "accept" | "stall";
}

export interface StagePlan {
  /** The number of the case, for logs and tests. */
  readonly bulkCase: number;
  readonly direction: "none" | "in" | "out";
  /** Bytes that cross the bus in the data stage, unless something goes wrong. */
  readonly bytes: number;
  /** Of these, what the command means; the rest is fill or is dropped. */
  readonly usefulBytes: number;
  /** What follows the last byte: nothing, a short packet, or a halt. */
  readonly end: "full" | "short" | "stall";
  /** bCSWStatus is 02h whatever the command says; the command is not run. */
  readonly phaseError: boolean;
}

/**
 * @param host    What the CBW says; 0 bytes = no data stage, whatever the direction bit (BOT 1.0 §5.1).
 * @param device  What the command means to move; undefined = nothing.
 */
export function planStage(host: DataIntent, device: DataIntent | undefined, style: StageStyle): StagePlan {
  const deviceBytes = device?.bytes ?? 0;
  const agree = deviceBytes === 0 || device?.direction === host.direction;
  if (host.bytes === 0) {
    if (deviceBytes === 0) return plan(1, "none", 0, 0, "full", false);
    return plan(device?.direction === "in" ? 2 : 3, "none", 0, 0, "full", true);
  }
  if (host.direction === "in") {
    if (!agree) return plan(8, "in", 0, 0, "stall", true);
    return planIn(host.bytes, deviceBytes, style);
  }
  if (!agree) return plan(10, "out", 0, 0, "stall", true);
  return planOut(host.bytes, deviceBytes, style);
}

function planIn(hostBytes: number, deviceBytes: number, { shortIn }: StageStyle): StagePlan {
  if (deviceBytes === hostBytes) return plan(6, "in", hostBytes, hostBytes, "full", false);
  if (deviceBytes > hostBytes) return plan(7, "in", hostBytes, hostBytes, "full", true);
  const bulkCase = deviceBytes === 0 ? 4 : 5;
  if (shortIn === "pad") return plan(bulkCase, "in", hostBytes, deviceBytes, "full", false);
  return plan(bulkCase, "in", deviceBytes, deviceBytes, shortIn, false);
}

function planOut(hostBytes: number, deviceBytes: number, { excessOut }: StageStyle): StagePlan {
  if (deviceBytes === hostBytes) return plan(12, "out", hostBytes, hostBytes, "full", false);
  if (deviceBytes > hostBytes) return plan(13, "out", 0, 0, "stall", true);
  const bulkCase = deviceBytes === 0 ? 9 : 11;
  if (excessOut === "accept") return plan(bulkCase, "out", hostBytes, deviceBytes, "full", false);
  return plan(bulkCase, "out", deviceBytes, deviceBytes, "stall", false);
}

function plan(
  bulkCase: number,
  direction: StagePlan["direction"],
  bytes: number,
  usefulBytes: number,
  end: StagePlan["end"],
  phaseError: boolean,
): StagePlan {
  return { bulkCase, direction, bytes, usefulBytes, end, phaseError };
}
