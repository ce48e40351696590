/**
 * Locks itself without waiting for a thread that is on its way: Node starts one for its inspector while it boots, and goes on. Nothing
 * here waits for a thread of libuv's pool either. Prints one line when all of them have had the time to come. argv: the profile.
 */
const { writeSync } = require("node:fs");
const { join } = require("node:path");

const STARTED_MS = Number(process.argv[3]);
const addon = require("node-gyp-build")(join(__dirname, "../.."));
const rc = addon.lock(0, process.argv[2] === "strict", 4, 5, 1);
if (rc !== 0) throw new Error(`lock: ${rc}`);
setTimeout(() => {
  writeSync(1, "alive\n");
  process.exit(0);
}, STARTED_MS);
