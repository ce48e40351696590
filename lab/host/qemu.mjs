/**
 * A stock Debian kernel in QEMU, by binary translation: works on any machine, some ten times slower than it.
 *
 * The guest's root is this machine's own over 9p, read-only; devices named by `--with` are on an xHCI controller, and the
 * guest plugs and unplugs them by requests: `plug ID`, `unplug ID`, `digest ID [LUN]` (SHA-256 of the image behind it). At the
 * far end of a serial line: `say ID HEX`, `heard ID COUNT` (waits for so many bytes), `echo ID` (from now on all comes back).
 */
import { createHash, randomFillSync } from "node:crypto";
import { createReadStream, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { pipeline } from "node:stream/promises";
import { serveChannel } from "./channel.mjs";
import { requireTools } from "./errors.mjs";
import { FarEnd } from "./far-end.mjs";
import { runGuest, writeSettings } from "./guest-process.mjs";
import { prepareInitrd, prepareKernel } from "./kernel-package.mjs";
import { Qmp } from "./qmp.mjs";

const QEMU = "qemu-system-x86_64";
const CHANNEL_NAME = "rumpusb.lab";
const IMAGE_BYTES = 16 * 1024 * 1024;
const UNPLUG_MS = 10_000;

/**
 * What `--with` can name. `luns`: images made for it, random content. `devices(images)`: what device_add takes, in order; the
 * first is the USB device and its id is what requests name. Its serial number is the id, too. `farEnd`: a chardev that is the
 * other end of its line.
 */
export const DEVICE_SETS = {
  "usb-storage": {
    luns: 1,
    devices: ([image]) => [{ driver: "usb-storage", id: "stick", serial: "stick", bus: "usb.0", drive: image }],
  },
  "usb-bot": {
    luns: 2,
    devices: (images) => [
      { driver: "usb-bot", id: "bot", serial: "bot", bus: "usb.0" },
      ...images.map((drive, lun) => ({ driver: "scsi-hd", id: `bot-${lun}`, bus: "bot.0", lun, drive })),
    ],
  },
  // SuperSpeed, so with bulk streams.
  "usb-uas": {
    luns: 2,
    devices: (images) => [
      { driver: "usb-uas", id: "uas", serial: "uas", bus: "usb.0" },
      ...images.map((drive, lun) => ({ driver: "scsi-hd", id: `uas-${lun}`, bus: "uas.0", lun, drive })),
    ],
  },
  "usb-serial": {
    luns: 0,
    farEnd: "serial-far",
    devices: () => [
      {
        driver: "usb-serial",
        id: "serial",
        serial: "serial",
        bus: "usb.0",
        chardev: "serial-far",
        "always-plugged": true,
      },
    ],
  },
  "usb-braille": {
    luns: 0,
    farEnd: "braille-far",
    devices: () => [{ driver: "usb-braille", id: "braille", serial: "braille", bus: "usb.0", chardev: "braille-far" }],
  },
};

/** Boots and runs to the end; see runGuest for the result. @throws CannotRun without QEMU or its kernel. */
export async function bootQemu(run) {
  requireTools(QEMU);
  const kernel = await prepareKernel({ cache: run.cache, offline: run.offline });
  const initrd = prepareInitrd({ cache: run.cache, kernel, initScript: join(run.root, "lab/guest/init-qemu.sh") });
  writeSettings(run.runFolder, {
    ...run.settings,
    LAB_CHANNEL: `virtio:${CHANNEL_NAME}`,
    LAB_SLOW: "8",
    LAB_MODULES: kernel.folder,
  });
  const plugged = run.deviceSets.map((set) => makeDevices(run.runFolder, set));
  const qmp = await acceptOne(join(run.runFolder, "qmp.sock"));
  const channel = await acceptOne(join(run.runFolder, "channel.sock"));
  qmp.socket.then((socket) => answerRequests(new Qmp(socket), plugged, channel, run.report), ignoreUnconnected);
  try {
    return await runGuest({
      command: QEMU,
      args: arguments_(run, kernel, initrd, plugged),
      seconds: run.seconds,
      env: { PATH: process.env.PATH, HOME: run.runFolder },
    });
  } finally {
    for (const { farEnd } of plugged) farEnd?.close();
    qmp.close();
    channel.close();
  }
}

function arguments_(run, kernel, initrd, plugged) {
  const images = plugged.flatMap(({ images: own }) => own);
  return [
    ...["-accel", "tcg,thread=multi", "-cpu", "max", "-m", "3072", "-smp", "2"],
    ...["-nodefaults", "-display", "none", "-no-reboot", "-serial", "stdio"],
    ...["-kernel", kernel.image, "-initrd", initrd],
    ...[
      "-append",
      `console=ttyS0 quiet loglevel=3 panic=-1 lsm=landlock usb_storage.delay_use=0 LAB_RUN=${run.runFolder}`,
    ],
    ...["-virtfs", "local,path=/,mount_tag=root,security_model=none,readonly=on,multidevs=remap"],
    ...["-qmp", `unix:${run.runFolder}/qmp.sock`],
    ...["-chardev", `socket,id=lab,path=${run.runFolder}/channel.sock`],
    ...["-device", "virtio-serial-pci", "-device", `virtserialport,chardev=lab,name=${CHANNEL_NAME}`],
    ...["-device", "qemu-xhci,id=usb"],
    ...images.flatMap(({ node, file }) => [
      "-blockdev",
      `driver=raw,node-name=${node},file.driver=file,file.filename=${file}`,
    ]),
    ...plugged.flatMap(({ farEnd }) =>
      farEnd === undefined ? [] : ["-chardev", `socket,id=${farEnd.name},path=${farEnd.path},server=on,wait=off`],
    ),
    ...plugged.flatMap(({ devices }) => devices.flatMap((device) => ["-device", JSON.stringify(device)])),
  ];
}

/** @returns `{id, images: [{node, file}], devices, farEnd}` of one set, its images written. */
function makeDevices(runFolder, set) {
  const { luns, devices, farEnd } = DEVICE_SETS[set];
  const images = Array.from({ length: luns }, (_, lun) => {
    const file = join(runFolder, `${set}.${lun}.img`);
    writeFileSync(file, randomFillSync(Buffer.alloc(IMAGE_BYTES)));
    return { node: `${set}-image-${lun}`, file };
  });
  const made = devices(images.map(({ node }) => node));
  return { id: made[0].id, images, devices: made, farEnd: farEnd && new FarEnd(farEnd, join(runFolder, farEnd)) };
}

async function answerRequests(qmp, plugged, channel, report) {
  const verbs = {
    plug: async (device) => {
      // usb-bot would have to be attached by hand, after its units.
      if (device.devices.length > 1) throw new Error(`plug ${device.id}: made of several devices, it stays plugged in`);
      for (const part of device.devices) await qmp.execute("device_add", part);
      return device.id;
    },
    unplug: async (device) => {
      const gone = qmp.event("DEVICE_DELETED", (data) => data.device === device.id, UNPLUG_MS);
      // Awaited below; until then a refused device_del must not leave it unhandled.
      gone.catch(() => {});
      await qmp.execute("device_del", { id: device.id });
      await gone;
      return device.id;
    },
    digest: async (device, lun = "0") => {
      const image = device.images[Number(lun)];
      if (image === undefined) throw new Error(`digest: ${device.id} has no unit ${lun}`);
      const hash = createHash("sha256");
      await pipeline(createReadStream(image.file), hash);
      return hash.digest("hex");
    },
    say: async ({ id, farEnd }, hex = "") => {
      if (farEnd === undefined) throw new Error(`say: ${id} is no serial line`);
      await farEnd.say(Buffer.from(hex, "hex"));
      return id;
    },
    heard: async ({ id, farEnd }, count = "0") => {
      if (farEnd === undefined) throw new Error(`heard: ${id} is no serial line`);
      return (await farEnd.heard(Number(count))).toString("hex");
    },
    echo: async ({ id, farEnd }) => {
      if (farEnd === undefined) throw new Error(`echo: ${id} is no serial line`);
      await farEnd.echo();
      return id;
    },
  };
  const socket = await channel.socket.catch(ignoreUnconnected);
  if (socket === undefined) return;
  serveChannel(socket, socket, {
    report,
    request: async (verb, [id, ...args]) => {
      const device = plugged.find((candidate) => candidate.id === id);
      if (!Object.hasOwn(verbs, verb)) throw new Error(`${verb}: not one of ${Object.keys(verbs).join(", ")}`);
      if (device === undefined) throw new Error(`${verb} ${id}: no such device; --with names them`);
      return verbs[verb](device, ...args);
    },
  });
}

/** Listens on a Unix socket for one connection. `socket` rejects when `close` comes first. */
function acceptOne(path) {
  return new Promise((resolveListening, rejectListening) => {
    let refuse;
    const server = createServer();
    const socket = new Promise((resolve, reject) => {
      refuse = reject;
      server.once("connection", (connection) => {
        server.close();
        resolve(connection);
      });
    });
    socket.catch(ignoreUnconnected);
    server.once("error", rejectListening);
    server.listen(path, () => {
      resolveListening({
        socket,
        close: () => {
          server.close();
          refuse(new Error(`${path}: QEMU did not connect`));
        },
      });
    });
  });
}

/** QEMU that ends before it connects is reported by its exit and its console. */
function ignoreUnconnected() {
  return undefined;
}
