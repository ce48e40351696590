/** Payloads of announcements, as a rump process writes them; how they are laid out: payloads.ts. */
import { concat } from "../bytes.js";
import {
  DATA_BITS,
  type Disk,
  type DiskInfo,
  FLOW_CONTROLS,
  MODEM_LINES,
  PARITIES,
  STOP_BITS,
  type Tty,
  type TtyInfo,
} from "../rump/devsw.js";
import type { LogEntry } from "../rumpuser/rumpuser.js";
import { checkGeometry, diskNodeRecord, NODE_FLAGS } from "./disk-payloads.js";
import {
  DEVICE_KIND_NUMBERS,
  MAX_DEMOTION_REASON_BYTES,
  MAX_MESSAGE_BYTES,
  MAX_PAYLOAD_BYTES,
  PUD_VERSION,
} from "./frames.js";
import {
  checkName,
  CLASS_NAME,
  type Demotion,
  demotionRecord,
  type DeviceAnnouncement,
  deviceRecord,
  DRIVER_NAME,
  errorRecord,
  helloRecord,
  LOG_LEVELS,
  logRecord,
  MODE_NAME,
  NAME_BYTES,
  STRING_BYTES,
} from "./payloads.js";
import { encodeText } from "./text.js";
import { CAN_BREAK, checkInfo, HAS_LATENCY, ttyNodeRecord } from "./tty-node-payload.js";
import { bitsOf } from "./tty-payloads.js";

/** @param memoryBytes  Shared memory that is mapped; 0 = none. */
export function encodeHello(memoryBytes = 0): Uint8Array {
  return helloRecord.encode({ version: PUD_VERSION, memoryBytes });
}

/** @throws LinkError PUD_NAME: the host would refuse it. */
export function encodeDevice(device: DeviceAnnouncement): Uint8Array {
  checkName("driver", device.driver, DRIVER_NAME);
  return deviceRecord.encode({
    ...device,
    driver: encodeText(device.driver, NAME_BYTES),
    reserved: new Uint8Array(0),
    manufacturer: encodeText(device.manufacturer, STRING_BYTES),
    productName: encodeText(device.productName, STRING_BYTES),
    serial: encodeText(device.serial, STRING_BYTES),
    mode: encodeText(device.mode ?? "", STRING_BYTES),
  });
}

/** @throws LinkError PUD_NAME: the host would refuse it. */
export function encodeDemotion({ mode, reason }: Demotion): Uint8Array {
  checkName("mode", mode, MODE_NAME);
  return concat([
    demotionRecord.encode({ mode: encodeText(mode, NAME_BYTES) }),
    encodeText(reason, MAX_DEMOTION_REASON_BYTES),
  ]);
}

/** @throws LinkError PUD_NAME, PUD_GEOMETRY, PUD_LINE: the driver describes a device that the host would refuse. */
export function encodeNode(className: string, unit: number, device: Disk | Tty): Uint8Array {
  checkName("class", className, CLASS_NAME);
  const name = encodeText(className, NAME_BYTES);
  return device.kind === "disk" ? encodeDiskNode(name, unit, device.info) : encodeTtyNode(name, unit, device.info);
}

/** @throws LinkError PUD_GEOMETRY: the driver describes a disk that the host would refuse. */
function encodeDiskNode(className: Uint8Array, unit: number, info: DiskInfo): Uint8Array {
  const maxTransferBytes = Math.min(info.maxTransferBytes, MAX_PAYLOAD_BYTES);
  checkGeometry({ ...info, maxTransferBytes });
  let flags = 0;
  for (const [key, bit] of Object.entries(NODE_FLAGS)) if (info[key as keyof typeof NODE_FLAGS]) flags |= bit;
  return diskNodeRecord.encode({
    className,
    kind: DEVICE_KIND_NUMBERS.disk,
    flags,
    unit,
    blockBytes: info.blockBytes,
    maxTransferBytes,
    reserved: 0,
    blockCount: info.blockCount,
    model: encodeText(info.model, 64),
  });
}

/** @throws LinkError PUD_LINE: the driver describes a line that the host would refuse. */
function encodeTtyNode(className: Uint8Array, unit: number, info: TtyInfo): Uint8Array {
  const { minBaud, maxBaud, canBreak, hasLatency, model } = info;
  checkInfo(info);
  return ttyNodeRecord.encode({
    className,
    kind: DEVICE_KIND_NUMBERS.tty,
    flags: (canBreak ? CAN_BREAK : 0) | (hasLatency ? HAS_LATENCY : 0),
    unit,
    minBaud,
    maxBaud,
    dataBits: bitsOf(DATA_BITS, info.dataBits),
    parities: bitsOf(PARITIES, info.parities),
    stopBits: bitsOf(STOP_BITS, info.stopBits),
    flowControls: bitsOf(FLOW_CONTROLS, info.flowControls),
    modemLines: bitsOf(MODEM_LINES, info.modemLines),
    reserved: new Uint8Array(0),
    model: encodeText(model, 64),
  });
}

export function encodeLog(entry: LogEntry): Uint8Array {
  return concat([
    logRecord.encode({
      level: LOG_LEVELS.indexOf(entry.level),
      reserved: new Uint8Array(0),
      source: encodeText(entry.source, 32),
    }),
    encodeText(entry.message, MAX_MESSAGE_BYTES),
  ]);
}

export function encodeError(code: string, message: string): Uint8Array {
  return concat([errorRecord.encode({ code: encodeText(code, 32) }), encodeText(message, MAX_MESSAGE_BYTES)]);
}
