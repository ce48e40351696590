/**
 * Who may import whom. The table is docs/architecture.md's; this file checks it.
 *
 * A file belongs to the first room whose prefix it has. `may` lists the prefixes its imports must have (its own room is
 * always allowed); `node` says whether it may import Node's modules and npm packages. `typesOnly` prefixes may be imported
 * with `import type` alone.
 */
import { readdirSync, readFileSync } from "node:fs";
import { dirname, join, normalize } from "node:path";

const USBDI = [
  "dev/usb/usbdi.ts",
  "dev/usb/step-error.ts",
  "dev/usb/errors.ts",
  "dev/usb/usb.ts",
  "dev/usb/requests.ts",
];

const ROOMS = [
  { room: "bytes.ts", may: [], node: false },
  { room: "buffers.ts", may: [], node: false },
  { room: "pending.ts", may: [], node: false },
  { room: "thrown.ts", may: [], node: false },
  { room: "rumpuser/rumpuser.ts", may: [], node: false },
  { room: "rumpuser/simulated", may: ["bytes.ts", "rumpuser/rumpuser.ts"], node: false },
  { room: "rumpuser/memory-stream", may: ["rumpuser/rumpuser.ts"], node: false },
  { room: "rumpuser/real/", may: ["bytes.ts", "pending.ts", "thrown.ts", "rumpuser/rumpuser.ts"], node: true },
  { room: "rump/", may: ["bytes.ts", "rumpuser/rumpuser.ts"], node: false },
  {
    room: "dev/usb/umass/",
    may: ["bytes.ts", "buffers.ts", "rump/devsw.ts", "rumpuser/rumpuser.ts", "dev/scsipi/", ...USBDI],
    node: false,
  },
  {
    room: "dev/usb/uas/",
    may: ["bytes.ts", "buffers.ts", "pending.ts", "rumpuser/rumpuser.ts", "dev/scsipi/", "dev/usb/umass/", ...USBDI],
    node: false,
  },
  {
    room: "dev/usb/ucom/",
    may: ["bytes.ts", "rump/devsw.ts", "rumpuser/rumpuser.ts", "dev/usb/descriptors.ts", ...USBDI],
    node: false,
  },
  {
    room: "dev/scsipi/",
    may: ["bytes.ts", "buffers.ts", "pending.ts", "rump/devsw.ts", "rumpuser/rumpuser.ts"],
    node: false,
  },
  {
    room: "dev/usb/",
    may: ["bytes.ts", "rump/", "rumpuser/rumpuser.ts", "dev/usb/umass/match.ts", "dev/usb/uas/match.ts"],
    node: false,
  },
  {
    room: "dev/ugenhc/",
    may: [
      "bytes.ts",
      "pending.ts",
      "rumpuser/rumpuser.ts",
      "dev/usb/usbdivar.ts",
      "dev/usb/chain.ts",
      "dev/usb/errors.ts",
      "dev/usb/reads.ts",
      "dev/usb/rest-timer.ts",
      "dev/usb/usb.ts",
    ],
    node: false,
  },
  {
    room: "dev/usbip/",
    may: [
      "bytes.ts",
      "pending.ts",
      "rumpuser/rumpuser.ts",
      "dev/usb/usbdivar.ts",
      "dev/usb/chain.ts",
      "dev/usb/errors.ts",
      "dev/usb/reads.ts",
      "dev/usb/rest-timer.ts",
      "dev/usb/usb.ts",
    ],
    node: false,
  },
  {
    room: "dev/vhc/",
    may: [
      "bytes.ts",
      "rumpuser/rumpuser.ts",
      "dev/usb/usbdivar.ts",
      "dev/usb/chain.ts",
      "dev/usb/descriptors.ts",
      "dev/usb/errors.ts",
      "dev/usb/usb.ts",
      "vdev/model.ts",
    ],
    node: false,
  },
  {
    room: "pud/links/",
    may: [
      "bytes.ts",
      "buffers.ts",
      "thrown.ts",
      "rump/devsw.ts",
      "pud/",
      "rumpuser/real/admission.ts",
      "rumpuser/real/clock.ts",
      "rumpuser/real/socket-reader.ts",
      "rumpuser/real/device-file.ts",
      "rumpuser/real/listening-socket.ts",
      "rumpuser/real/resources.ts",
    ],
    node: true,
  },
  { room: "pud/", may: ["bytes.ts", "buffers.ts", "pending.ts", "rump/devsw.ts", "rumpuser/rumpuser.ts"], node: false },
  {
    room: "vdev/",
    may: [
      "bytes.ts",
      "buffers.ts",
      "rumpuser/rumpuser.ts",
      "dev/usb/usb.ts",
      "dev/usb/descriptors.ts",
      "dev/usbip/wire.ts",
      "dev/usbip/reader.ts",
      "rumpuser/real/",
    ],
    node: true,
  },
  {
    room: "session/",
    may: [
      "bytes.ts",
      "thrown.ts",
      "rump/devsw.ts",
      "rumpuser/",
      "pud/",
      "host/errors.ts",
      "host/events.ts",
      "host/modes.ts",
      "host/process-exit.ts",
      "host/units.ts",
      "host/waits.ts",
    ],
    typesOnly: ["host/sandbox/verify.ts"],
    node: true,
  },
  {
    room: "host/",
    may: [
      "rump-process/config.ts",
      "pud-process/messenger.ts",
      "pud-process/protocol.ts",
      "session/",
      "bytes.ts",
      "thrown.ts",
      "rump/devsw.ts",
      "rumpuser/",
      "pud/",
      "dev/usb/match.ts",
      "dev/usb/drivers.ts",
      "dev/usb/driver-modules.ts",
      "dev/usb/usb-ids.ts",
    ],
    typesOnly: ["dev/usb/usbdi.ts"],
    node: true,
  },
  { room: "cli/", may: ["bytes.ts", "host/", "pud/links/", "vdev/", "rump/devsw.ts", "rumpuser/"], node: true },
  {
    room: "pud-process/messenger.ts",
    may: ["thrown.ts", "rumpuser/", "host/errors.ts", "pud/links/errors.ts"],
    node: false,
  },
  {
    room: "pud-process",
    may: [
      "pud-process/",
      "bytes.ts",
      "thrown.ts",
      "rumpuser/",
      "rump/devsw.ts",
      "pud/",
      "session/",
      "host/errors.ts",
      "host/events.ts",
      "host/modes.ts",
      "host/process-exit.ts",
      "host/units.ts",
      "host/waits.ts",
    ],
    typesOnly: ["host/sandbox/verify.ts"],
    node: true,
  },
  { room: "rump-process", may: ["bytes.ts", "rumpuser/", "rump/", "dev/", "pud/"], node: true },
  { room: "serialport", may: ["host/", "pud/links/", "rump/devsw.ts"], node: true },
  { room: "index.ts", may: [""], node: true },
];

const SRC = "src";
const problems = [];

for (const file of listFiles(SRC)) {
  const own = file.slice(SRC.length + 1);
  const room = ROOMS.find((r) => own.startsWith(r.room));
  if (room === undefined) {
    problems.push(`${file}: belongs to no room`);
    continue;
  }
  for (const { specifier, typeOnly } of importsOf(readFileSync(file, "utf8"))) {
    if (!specifier.startsWith(".")) {
      if (!room.node && !typeOnly) problems.push(`${file}: room ${room.room} may not import "${specifier}"`);
      continue;
    }
    const target = normalize(join(dirname(own), specifier)).replace(/\.js$/, ".ts");
    const allowed = [room.room, ...room.may, ...(typeOnly ? (room.typesOnly ?? []) : [])];
    if (!allowed.some((prefix) => target.startsWith(prefix)))
      problems.push(`${file}: room ${room.room} may not import ${target}`);
  }
}

for (const problem of problems) console.error(problem);
if (problems.length > 0) process.exit(1);

function listFiles(folder) {
  return readdirSync(folder, { withFileTypes: true }).flatMap((entry) => {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) return listFiles(path);
    return entry.name.endsWith(".ts") ? [path] : [];
  });
}

function* importsOf(text) {
  const pattern = /^(?:import|export)\s+(type\s+)?(?:[^"';]*?\sfrom\s+)?"([^"]+)"/gm;
  for (const [, type, specifier] of text.matchAll(pattern)) yield { specifier, typeOnly: type !== undefined };
  for (const [, specifier] of text.matchAll(/\bimport\("([^"]+)"\)/g)) yield { specifier, typeOnly: false };
}
