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
  if (host.bytes === 0) return planNoData(device);
  const plan = { direction: host.direction, bytes: 0, usefulBytes: 0 } as const;
  const deviceBytes = device?.bytes ?? 0;
  if (deviceBytes > 0 && device?.direction !== host.direction)
    return { ...plan, bulkCase: host.direction === "in" ? 8 : 10, end: "stall", phaseError: true };
  return host.direction === "in" ? planIn(host.bytes, deviceBytes, style) : planOut(host.bytes, deviceBytes, style);
}

function planNoData(device: DataIntent | undefined): StagePlan {
  const plan = { direction: "none", bytes: 0, usefulBytes: 0, end: "full" } as const;
  if (device === undefined || device.bytes === 0) return { ...plan, bulkCase: 1, phaseError: false };
  return { ...plan, bulkCase: device.direction === "in" ? 2 : 3, phaseError: true };
}

function planIn(hostBytes: number, deviceBytes: number, style: StageStyle): StagePlan {
  const plan = { direction: "in", phaseError: false } as const;
  if (deviceBytes === hostBytes) return { ...plan, bulkCase: 6, bytes: hostBytes, usefulBytes: hostBytes, end: "full" };
  if (deviceBytes > hostBytes)
    return { ...plan, bulkCase: 7, bytes: hostBytes, usefulBytes: hostBytes, end: "full", phaseError: true };
  const bulkCase = deviceBytes === 0 ? 4 : 5;
  if (style.shortIn === "pad") return { ...plan, bulkCase, bytes: hostBytes, usefulBytes: deviceBytes, end: "full" };
  return { ...plan, bulkCase, bytes: deviceBytes, usefulBytes: deviceBytes, end: style.shortIn };
}

function planOut(hostBytes: number, deviceBytes: number, style: StageStyle): StagePlan {
  const plan = { direction: "out", phaseError: false } as const;
  if (deviceBytes === hostBytes)
    return { ...plan, bulkCase: 12, bytes: hostBytes, usefulBytes: hostBytes, end: "full" };
  if (deviceBytes > hostBytes)
    return { ...plan, bulkCase: 13, bytes: 0, usefulBytes: 0, end: "stall", phaseError: true };
  const bulkCase = deviceBytes === 0 ? 9 : 11;
  const accepts = style.excessOut === "accept";
  return {
    ...plan,
    bulkCase,
    bytes: accepts ? hostBytes : deviceBytes,
    usefulBytes: deviceBytes,
    end: accepts ? "full" : "stall",
  };
}
