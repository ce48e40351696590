/**
 * The check scripts of lab/checks, many in one boot, and several guests at a time. Skipped: the boots of a User Mode Linux kernel where
 * RUMPUSB_UML names none, that of a stock Debian kernel where QEMU or the kernel package is missing (`lab/run --prepare` fetches it).
 */
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { BOOTS } from "./checks.js";
import { declareResults, ROOT, runBoots } from "./lab.js";

test("every check script is in a boot", () => {
  const scripts = BOOTS.flatMap((boot) => boot.scripts);
  expect([...new Set(scripts)].toSorted()).toEqual(
    readdirSync(join(ROOT, "lab/checks"))
      .filter((file) => file.endsWith(".sh"))
      .toSorted(),
  );
});

// Boots before the tests are declared: what they are called is what the guest says.
for (const [boot, run] of await runBoots(BOOTS)) declareResults(boot, run);
