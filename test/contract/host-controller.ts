/**
 * What every host controller promises (usbdivar.ts), as one suite. It runs against vhc, usbip in memory, usbip over
 * a socket, and ugenhc on a port made of the same device.
 */
import { afterEach, beforeEach, describe } from "vitest";
import { Bench, type ControllerRig } from "./host-controller-bench.js";
import { chainContract } from "./host-controller-chains.js";
import { portContract } from "./host-controller-ports.js";
import { readContract } from "./host-controller-reads.js";
import { transferContract } from "./host-controller-transfers.js";

export type { ControllerRig } from "./host-controller-bench.js";

/** `open` makes a controller with an echo device (test/fakes/echo-model.ts) in its root port 1. */
export function hostControllerContract(name: string, open: () => Promise<ControllerRig>): void {
  describe(`host controller contract: ${name}`, () => {
    const bench = new Bench();
    beforeEach(() => bench.open(open()));
    afterEach(() => bench.close());

    portContract(bench);
    transferContract(bench);
    chainContract(bench);
    readContract(bench);
  });
}
