/**
 * A SCSI target with direct-access units, written from SPC-4 and SBC-3: a table of commands.
 *
 * Order of checks (SPC-4 §5.3.3): the unit exists, no unit attention waits, the operation code and the CDB are right, the
 * unit is ready.
 */
import { viewOf } from "../../bytes.js";
import { read, synchronizeCache, unmap, verify, write, writeSame } from "./block-commands.js";
import { capacity10Data, capacity16Data, type ScsiIdentity, standardInquiryData, vpdPage } from "./identity.js";
import { type ModeHeader, modeSelect, modeSense } from "./mode.js";
import { CheckCondition, encodeSense, SENSE } from "./sense.js";
import { type CommandData, parameterData, parameterList, ScsiTask } from "./task.js";
import type { LogicalUnit } from "./unit.js";

/** A CDB as the transport carries it: always 16 bytes, zeroes behind the command. */
export const CDB_BYTES = 16;

interface CommandCommon {
  readonly name: string;
  readonly cdbBytes: 6 | 10 | 12 | 16;
}
type CommandRow =
  | (CommandCommon & {
      readonly always?: false;
      readonly run: (target: ScsiTarget, unit: LogicalUnit, cdb: Uint8Array) => CommandData;
    })
  | (CommandCommon & {
      /** Neither reports nor clears a unit attention, and works where there is no unit (SPC-4 §5.9, §6.6.1). */
      readonly always: true;
      readonly run: (target: ScsiTarget, unit: LogicalUnit | undefined, cdb: Uint8Array) => CommandData;
    });

/** Byte 1 of SERVICE ACTION IN (16) and of START STOP UNIT. */
const SERVICE_ACTION_MASK = 0x1f;
const READ_CAPACITY_16 = 0x10;
const START_STOP = { START: 0x01, LOEJ: 0x02, POWER_CONDITION: 0xf0 };
const MODE_SELECT = { SAVE_PAGES: 0x01, PAGE_FORMAT: 0x10 };
const EVPD = 0x01;
const SENSE_DESCRIPTOR_FORMAT = 0x01;

/** By operation code (SPC-4 Annex E.3, SBC-3 §5.1). */
const COMMANDS: ReadonlyMap<number, CommandRow> = new Map<number, CommandRow>([
  [0x00, { name: "TEST UNIT READY", cdbBytes: 6, run: testUnitReady }],
  [0x03, { name: "REQUEST SENSE", cdbBytes: 6, always: true, run: requestSense }],
  [0x08, { name: "READ (6)", cdbBytes: 6, run: (_target, unit, cdb) => read(unit, cdb, 6) }],
  [0x0a, { name: "WRITE (6)", cdbBytes: 6, run: (_target, unit, cdb) => write(unit, cdb, 6) }],
  [0x12, { name: "INQUIRY", cdbBytes: 6, always: true, run: inquiry }],
  [0x15, { name: "MODE SELECT (6)", cdbBytes: 6, run: (_target, unit, cdb) => select(unit, cdb, 4, cdb[4] ?? 0) }],
  [
    0x1a,
    {
      name: "MODE SENSE (6)",
      cdbBytes: 6,
      run: (_target, unit, cdb) => parameterData(modeSense(unit, 4, cdb[2] ?? 0, cdb[3] ?? 0), cdb[4] ?? 0),
    },
  ],
  [0x1b, { name: "START STOP UNIT", cdbBytes: 6, run: startStop }],
  [0x1e, { name: "PREVENT ALLOW MEDIUM REMOVAL", cdbBytes: 6, run: preventAllow }],
  [
    0x25,
    {
      name: "READ CAPACITY (10)",
      cdbBytes: 10,
      run: (_target, unit) => {
        unit.readyMedium();
        return parameterData(capacity10Data(unit));
      },
    },
  ],
  [0x28, { name: "READ (10)", cdbBytes: 10, run: (_target, unit, cdb) => read(unit, cdb, 10) }],
  [0x2a, { name: "WRITE (10)", cdbBytes: 10, run: (_target, unit, cdb) => write(unit, cdb, 10) }],
  [0x2f, { name: "VERIFY (10)", cdbBytes: 10, run: (_target, unit, cdb) => verify(unit, cdb, 10) }],
  [
    0x35,
    { name: "SYNCHRONIZE CACHE (10)", cdbBytes: 10, run: (_target, unit, cdb) => synchronizeCache(unit, cdb, 10) },
  ],
  [0x41, { name: "WRITE SAME (10)", cdbBytes: 10, run: (_target, unit, cdb) => writeSame(unit, cdb, 10) }],
  [0x42, { name: "UNMAP", cdbBytes: 10, run: (_target, unit, cdb) => unmap(unit, cdb) }],
  [
    0x55,
    {
      name: "MODE SELECT (10)",
      cdbBytes: 10,
      run: (_target, unit, cdb) => select(unit, cdb, 8, viewOf(cdb).getUint16(7)),
    },
  ],
  [
    0x5a,
    {
      name: "MODE SENSE (10)",
      cdbBytes: 10,
      run: (_target, unit, cdb) =>
        parameterData(modeSense(unit, 8, cdb[2] ?? 0, cdb[3] ?? 0), viewOf(cdb).getUint16(7)),
    },
  ],
  [0x88, { name: "READ (16)", cdbBytes: 16, run: (_target, unit, cdb) => read(unit, cdb, 16) }],
  [0x8a, { name: "WRITE (16)", cdbBytes: 16, run: (_target, unit, cdb) => write(unit, cdb, 16) }],
  [0x8f, { name: "VERIFY (16)", cdbBytes: 16, run: (_target, unit, cdb) => verify(unit, cdb, 16) }],
  [
    0x91,
    { name: "SYNCHRONIZE CACHE (16)", cdbBytes: 16, run: (_target, unit, cdb) => synchronizeCache(unit, cdb, 16) },
  ],
  [0x93, { name: "WRITE SAME (16)", cdbBytes: 16, run: (_target, unit, cdb) => writeSame(unit, cdb, 16) }],
  [0x9e, { name: "SERVICE ACTION IN (16)", cdbBytes: 16, run: serviceActionIn }],
  [0xa0, { name: "REPORT LUNS", cdbBytes: 12, always: true, run: reportLuns }],
  [0xa8, { name: "READ (12)", cdbBytes: 12, run: (_target, unit, cdb) => read(unit, cdb, 12) }],
  [0xaa, { name: "WRITE (12)", cdbBytes: 12, run: (_target, unit, cdb) => write(unit, cdb, 12) }],
  [0xaf, { name: "VERIFY (12)", cdbBytes: 12, run: (_target, unit, cdb) => verify(unit, cdb, 12) }],
]);

export class ScsiTarget {
  readonly identity: ScsiIdentity;
  /** By LUN, from 0. */
  readonly units: readonly LogicalUnit[];

  constructor(identity: ScsiIdentity, units: readonly LogicalUnit[]) {
    this.identity = identity;
    this.units = units;
  }

  /**
   * Starts a command. What goes wrong is in the task, never thrown.
   * @param cdb  CDB_BYTES bytes, of which the transport says `cdbBytes` are the command. Not kept.
   */
  start(lun: number, cdb: Uint8Array, cdbBytes: number): ScsiTask {
    const unit = this.units[lun];
    const command = cdb.slice();
    return new ScsiTask(
      () => this.#run(unit, command, cdbBytes),
      (sense) => unit?.setSense(sense),
    );
  }

  /** A bus reset reached the device. */
  reset(): void {
    for (const unit of this.units) unit.reset();
  }

  #run(unit: LogicalUnit | undefined, cdb: Uint8Array, cdbBytes: number): CommandData {
    const row = COMMANDS.get(cdb[0] ?? 0);
    if (row?.always === true) {
      if (cdbBytes < row.cdbBytes) throw new CheckCondition(SENSE.INVALID_FIELD_IN_CDB);
      return row.run(this, unit, cdb);
    }
    if (unit === undefined) throw new CheckCondition(SENSE.LOGICAL_UNIT_NOT_SUPPORTED);
    unit.setSense(SENSE.NONE);
    const attention = unit.takeAttention();
    if (attention !== undefined) throw new CheckCondition(attention);
    if (row === undefined) throw new CheckCondition(SENSE.INVALID_OPERATION_CODE);
    if (cdbBytes < row.cdbBytes) throw new CheckCondition(SENSE.INVALID_FIELD_IN_CDB);
    return row.run(this, unit, cdb);
  }
}

/** The name of an operation code that the target knows, for logs. */
export function commandName(operationCode: number): string {
  return COMMANDS.get(operationCode)?.name ?? `${operationCode.toString(16).padStart(2, "0")}h`;
}

function testUnitReady(_target: ScsiTarget, unit: LogicalUnit): CommandData {
  unit.readyMedium();
  return undefined;
}

/** SPC-4 §6.39: fixed format only. */
function requestSense(_target: ScsiTarget, unit: LogicalUnit | undefined, cdb: Uint8Array): CommandData {
  if (((cdb[1] ?? 0) & SENSE_DESCRIPTOR_FORMAT) !== 0) throw new CheckCondition(SENSE.INVALID_FIELD_IN_CDB);
  const sense = unit === undefined ? SENSE.LOGICAL_UNIT_NOT_SUPPORTED : unit.takeSense();
  return parameterData(encodeSense(sense), cdb[4] ?? 0);
}

/** SPC-4 §6.6. */
function inquiry(target: ScsiTarget, unit: LogicalUnit | undefined, cdb: Uint8Array): CommandData {
  const allocationLength = viewOf(cdb).getUint16(3);
  const pageCode = cdb[2] ?? 0;
  if (((cdb[1] ?? 0) & EVPD) !== 0) {
    if (unit === undefined) throw new CheckCondition(SENSE.INVALID_FIELD_IN_CDB);
    return parameterData(vpdPage(pageCode, target.identity, unit), allocationLength);
  }
  if (pageCode !== 0) throw new CheckCondition(SENSE.INVALID_FIELD_IN_CDB);
  return parameterData(standardInquiryData(target.identity, unit), allocationLength);
}

/** SPC-4 §6.33. SELECT REPORT 0 and 2 list the units, 1 the well-known ones, of which there are none. */
function reportLuns(target: ScsiTarget, _unit: LogicalUnit | undefined, cdb: Uint8Array): CommandData {
  const allocationLength = viewOf(cdb).getUint32(6);
  const selectReport = cdb[2] ?? 0;
  if (selectReport > 2 || allocationLength < 16) throw new CheckCondition(SENSE.INVALID_FIELD_IN_CDB);
  const count = selectReport === 1 ? 0 : target.units.length;
  const list = new Uint8Array(8 + 8 * count);
  viewOf(list).setUint32(0, 8 * count);
  for (let lun = 0; lun < count; lun++) list[8 + 8 * lun + 1] = lun;
  return parameterData(list, allocationLength);
}

/** SBC-3 §5.16. */
function serviceActionIn(_target: ScsiTarget, unit: LogicalUnit, cdb: Uint8Array): CommandData {
  if (((cdb[1] ?? 0) & SERVICE_ACTION_MASK) !== READ_CAPACITY_16) throw new CheckCondition(SENSE.INVALID_FIELD_IN_CDB);
  unit.readyMedium();
  return parameterData(capacity16Data(unit), viewOf(cdb).getUint32(10));
}

/** MODE SELECT: page format only, nothing is saved (SPC-4 §6.11). */
function select(unit: LogicalUnit, cdb: Uint8Array, header: ModeHeader, listBytes: number): CommandData {
  const flags = cdb[1] ?? 0;
  if ((flags & MODE_SELECT.PAGE_FORMAT) === 0 || (flags & MODE_SELECT.SAVE_PAGES) !== 0)
    throw new CheckCondition(SENSE.INVALID_FIELD_IN_CDB);
  return parameterList(listBytes, (list) => modeSelect(unit, header, list));
}

/** SBC-3 §5.20. LOEJ moves the medium; without it the unit becomes active or stopped. Power conditions are refused. */
function startStop(_target: ScsiTarget, unit: LogicalUnit, cdb: Uint8Array): CommandData {
  const flags = cdb[4] ?? 0;
  if ((flags & START_STOP.POWER_CONDITION) !== 0) throw new CheckCondition(SENSE.INVALID_FIELD_IN_CDB);
  const start = (flags & START_STOP.START) !== 0;
  if ((flags & START_STOP.LOEJ) === 0) {
    if (!start && unit.hasMedium) unit.cache?.sync();
    unit.stopped = !start;
    return undefined;
  }
  if (!unit.removable) throw new CheckCondition(SENSE.INVALID_FIELD_IN_CDB);
  if (start) unit.load();
  else if (unit.removalPrevented) throw new CheckCondition(SENSE.MEDIUM_REMOVAL_PREVENTED);
  else unit.eject();
  return undefined;
}

/** SPC-4 §6.17, SBC-3 §5.8: byte 4 bits 1..0, of which bit 0 locks. */
function preventAllow(_target: ScsiTarget, unit: LogicalUnit, cdb: Uint8Array): CommandData {
  if (!unit.removable) throw new CheckCondition(SENSE.INVALID_FIELD_IN_CDB);
  unit.removalPrevented = ((cdb[4] ?? 0) & 1) !== 0;
  return undefined;
}
