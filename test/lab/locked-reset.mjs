/**
 * A reset by a locked process: afterwards libusb wants the kernel's driver off again, which the lock does not let it ask for.
 *
 *   node test/lab/locked-reset.mjs /dev/bus/usb/BBB/DDD
 *
 * Ends with status 0 when the interface can be used after the reset; the kernel ends it where the lock kills.
 */
import assert from "node:assert/strict";
import { openSync } from "node:fs";
import { lockProcess } from "../../dist/rumpuser/real/lock.js";
import { openUsbPort } from "../../dist/rumpuser/real/usb-port.js";

const [, , node = ""] = process.argv;
const NO_PASS_FD = 63;

const fd = openSync(node, "r+");
await lockProcess({ purpose: "device", profile: "standard", deviceFd: fd, passFd: NO_PASS_FD });
const port = openUsbPort(fd);
assert.equal(await port.claimInterface(0), "ok");
assert.equal(await port.reset(), "ok");
assert.equal(await port.clearHalt(0x81), "ok");
port.close();
