/**
 * The device's side of USB Attached SCSI: a task set, four pipes, and scripted faults (UAS r04; SAM-5 §5 for tasks, §7 for
 * task management).
 *
 * With streams (SuperSpeed) data and status of a task move on the stream of its tag, whenever the host has a transfer
 * there. Without, one status pipe is shared: the target says with READ READY or WRITE READY whose data comes next, one task
 * for each direction at a time.
 *
 * Completing a transfer can re-enter the model, so state is changed before a transfer is completed, and what follows a
 * completion looks at the state again.
 */
import type { Clock, Timer } from "../rumpuser/rumpuser.js";
import type { StageStyle } from "./bot-cases.js";
import { Exchange } from "./bot-exchange.js";
import type { BusEvent } from "./bus-events.js";
import type { InEndpoint, OutEndpoint } from "./endpoint.js";
import { actionOf, type FaultAction, type FaultPhase, type FaultScript } from "./faults.js";
import { encodeSense, SENSE } from "./scsi/sense.js";
import { commandName, type ScsiTarget } from "./scsi/target.js";
import { faultyIu, syntheticCbw, type UasTask, type WaitingIu } from "./uas-task.js";
import {
  commandIu,
  encodeResponseIu,
  encodeSenseIu,
  IU,
  iuHeader,
  lunOf,
  RESPONSE_CODE,
  SCSI_STATUS,
  TASK_FUNCTION,
  taskManagementIu,
} from "./uas-wire.js";

export interface UasTargetOptions {
  readonly scsi: ScsiTarget;
  readonly command: OutEndpoint;
  readonly status: InEndpoint;
  readonly dataIn: InEndpoint;
  readonly dataOut: OutEndpoint;
  /** Tags are streams 1..n; undefined: no streams (below SuperSpeed). */
  readonly streams: number | undefined;
  /** More tasks than this are answered with TASK SET FULL. */
  readonly maxTasks: number;
  /** Whose data moves first when several tasks wait: SIMPLE tasks have no order (SAM-5 §8.6.2). */
  readonly order: "arrival" | "newest";
  readonly faults: FaultScript;
  readonly clock: Clock;
  readonly tell: (event: BusEvent) => void;
  readonly unplug: () => void;
  readonly powerCut: (seed: number) => void;
}

/** A host that never reads the status pipe is not listened to any more. */
const MAX_WAITING_IUS = 256;
const MAX_LUNS = 256;
const STYLE: StageStyle = { shortIn: "short", excessOut: "accept" };

export class UasTarget {
  readonly #options: UasTargetOptions;
  readonly #tasks = new Map<number, UasTask>();
  #waiting: WaitingIu[] = [];
  readonly #timers = new Set<Timer>();
  #running = false;
  #poked = false;

  constructor(options: UasTargetOptions) {
    this.#options = options;
  }

  /** Tasks in the task set. */
  get taskCount(): number {
    return this.#tasks.size;
  }

  /** Goes on as far as it can. */
  run(): void {
    this.#poked = true;
    if (this.#running) return;
    this.#running = true;
    try {
      while (this.#poked) {
        this.#poked = false;
        while (this.#sendIu() || this.#takeIu() || this.#moveData());
      }
    } finally {
      this.#running = false;
    }
  }

  /** Every task is forgotten, and so is what was to be said about it: reset, configuration, alternate setting. */
  reset(): void {
    for (const timer of this.#timers) timer.cancel();
    this.#timers.clear();
    this.#tasks.clear();
    this.#waiting = [];
  }

  // -------------------------------------------------------------------------------------------------------------------
  // Command pipe

  #takeIu(): boolean {
    const { command } = this.#options;
    if (command.halted || this.#waiting.length >= MAX_WAITING_IUS) return false;
    const packet = command.available?.slice(0, command.maxPacketBytes);
    if (packet === undefined) return false;
    const { id, tag } = packet.length < iuHeader.size ? { id: undefined, tag: 0 } : iuHeader.decode(packet);
    const actions = id === IU.COMMAND ? this.#faults("cbw", { operationCode: packet[16] ?? 0 }) : [];
    if (this.#leaves(actions)) return false;
    if (actionOf(actions, "stall") !== undefined) {
      this.#halt(command);
      return true;
    }
    if (id === IU.COMMAND && packet.length >= commandIu.size) this.#command(packet, actions);
    else if (id === IU.TASK_MANAGEMENT && packet.length >= taskManagementIu.size) this.#taskManagement(packet);
    else this.#respond(tag, RESPONSE_CODE.INVALID_INFORMATION_UNIT);
    command.take(packet.length);
    return true;
  }

  #command(packet: Uint8Array, actions: readonly FaultAction[]): void {
    const { scsi, maxTasks, tell } = this.#options;
    const { tag, lun: lunBytes, cdb, additionalCdbLength } = commandIu.decode(packet);
    if (this.#tasks.has(tag)) return this.#respond(tag, RESPONSE_CODE.OVERLAPPED_TAG);
    if (!this.#isTag(tag) || additionalCdbLength !== 0)
      return this.#respond(tag, RESPONSE_CODE.INVALID_INFORMATION_UNIT);
    const response = actionOf(actions, "response");
    if (response !== undefined) return this.#respond(tag, response.value);
    const refusal = actionOf(actions, "refuse")?.value;
    const status = this.#tasks.size >= maxTasks ? SCSI_STATUS.TASK_SET_FULL : refusal;
    if (status !== undefined) return this.#say("csw", tag, encodeSenseIu(tag, status, new Uint8Array(0)));
    const lun = lunOf(lunBytes) ?? MAX_LUNS;
    const operationCode = cdb[0] ?? 0;
    tell({ kind: "command", lun, tag, cdb, name: commandName(operationCode) });
    const work = scsi.start(lun, cdb, cdb.length);
    const exchange = new Exchange(syntheticCbw(tag, cdb, work.data), work, STYLE, false);
    const task: UasTask = { tag, lun, operationCode, scsi: work, exchange, state: "waiting", held: false };
    this.#tasks.set(tag, task);
    this.#hold(task, actions);
  }

  /** The faults `nak` and `delay`. */
  #hold(held: { held: boolean }, actions: readonly FaultAction[]): void {
    const delay = actionOf(actions, "delay");
    held.held = delay !== undefined || actionOf(actions, "nak") !== undefined;
    if (delay === undefined) return;
    this.#later(delay.ms, () => {
      held.held = false;
    });
  }

  #isTag(tag: number): boolean {
    const { streams } = this.#options;
    return tag >= 1 && tag <= (streams ?? 0xfffe);
  }

  #taskManagement(packet: Uint8Array): void {
    const { tag, function: code, taskTag, lun: lunBytes } = taskManagementIu.decode(packet);
    if (this.#tasks.has(tag)) return this.#respond(tag, RESPONSE_CODE.OVERLAPPED_TAG);
    if (!this.#isTag(tag)) return this.#respond(tag, RESPONSE_CODE.INVALID_INFORMATION_UNIT);
    const actions = this.#faults("task", {});
    if (this.#leaves(actions) || actionOf(actions, "nak") !== undefined) return;
    const response = actionOf(actions, "response")?.value ?? this.#manage(code, taskTag, lunOf(lunBytes));
    const iu = faultyIu(encodeResponseIu(tag, response), actions);
    const delay = actionOf(actions, "delay");
    const say = (): void => {
      for (let left = actionOf(actions, "duplicate") === undefined ? 1 : 2; left > 0; left--)
        this.#waiting.push({ tag, phase: "task", bytes: iu, actions, task: undefined, held: false });
    };
    if (delay === undefined) say();
    else this.#later(delay.ms, say);
  }

  /** SAM-5 §7. @returns the response code. */
  #manage(code: number, taskTag: number, lun: number | undefined): number {
    const { scsi } = this.#options;
    if (code === TASK_FUNCTION.I_T_NEXUS_RESET) {
      this.reset();
      for (const unit of scsi.units) unit.attention(SENSE.NEXUS_LOSS);
      return RESPONSE_CODE.FUNCTION_COMPLETE;
    }
    const unit = lun === undefined ? undefined : scsi.units[lun];
    if (unit === undefined) return RESPONSE_CODE.INCORRECT_LUN;
    switch (code) {
      case TASK_FUNCTION.ABORT_TASK:
        this.#forget((task) => task.tag === taskTag && task.lun === lun);
        return RESPONSE_CODE.FUNCTION_COMPLETE;
      case TASK_FUNCTION.ABORT_TASK_SET:
        this.#forget((task) => task.lun === lun);
        return RESPONSE_CODE.FUNCTION_COMPLETE;
      case TASK_FUNCTION.LOGICAL_UNIT_RESET:
        this.#forget((task) => task.lun === lun);
        unit.reset();
        unit.attention(SENSE.DEVICE_RESET);
        return RESPONSE_CODE.FUNCTION_COMPLETE;
      case TASK_FUNCTION.QUERY_TASK:
        return this.#tasks.get(taskTag)?.lun === lun
          ? RESPONSE_CODE.FUNCTION_SUCCEEDED
          : RESPONSE_CODE.FUNCTION_COMPLETE;
      default:
        return RESPONSE_CODE.FUNCTION_NOT_SUPPORTED;
    }
  }

  #forget(which: (task: UasTask) => boolean): void {
    for (const task of this.#tasks.values()) if (which(task)) this.#tasks.delete(task.tag);
    this.#waiting = this.#waiting.filter(({ task }) => task === undefined || !which(task));
  }

  // -------------------------------------------------------------------------------------------------------------------
  // Data pipes

  /** One step of one task. @returns false when all wait for the host. */
  #moveData(): boolean {
    const tasks = Array.from(this.#tasks.values());
    if (this.#options.order === "newest") tasks.reverse();
    for (const task of tasks) {
      if (task.held) continue;
      if (task.state === "waiting" && this.#begin(task)) return true;
      if (task.state === "data" && this.#step(task)) return true;
    }
    return false;
  }

  /** Without streams a task waits for its pipe, and the host is told when it has it. */
  #begin(task: UasTask): boolean {
    const { direction } = task.exchange;
    if (direction === "none") {
      this.#finish(task);
      return true;
    }
    if (this.#options.streams === undefined) {
      for (const other of this.#tasks.values())
        if (other.exchange.direction === direction && (other.state === "ready" || other.state === "data")) return false;
      task.state = "ready";
      const id = direction === "in" ? IU.READ_READY : IU.WRITE_READY;
      this.#say("ready", task.tag, iuHeader.encode({ id, reserved: 0, tag: task.tag }), task);
      return true;
    }
    task.state = "data";
    return true;
  }

  #step(task: UasTask): boolean {
    const { exchange } = task;
    const stream = this.#streamOf(task.tag);
    const endpoint = exchange.direction === "in" ? this.#options.dataIn : this.#options.dataOut;
    if (endpoint.halted) return false;
    // Faults hit the stage when the host comes for its data.
    const isHere =
      exchange.direction === "in" ? this.#options.dataIn.roomOn(stream) : this.#options.dataOut.availableOn(stream);
    if (isHere === undefined) return false;
    if (!this.#beginStage(task)) return true;
    const left = exchange.bytes - exchange.moved;
    if (left === 0) return this.#endStage(task, endpoint);
    if (exchange.direction === "in") {
      const data = exchange.read(Math.min(this.#options.dataIn.roomOn(stream) ?? 0, left));
      if (data !== undefined) exchange.moved += this.#options.dataIn.send(data, data.length === left, stream);
      if (exchange.moved === exchange.bytes) return this.#endStage(task, endpoint);
      return true;
    }
    const data = this.#options.dataOut.availableOn(stream)?.subarray(0, left);
    if (data === undefined) return false;
    exchange.write(data);
    exchange.moved += data.length;
    const hasEnded = this.#options.dataOut.take(data.length, stream);
    if (this.#tasks.get(task.tag) !== task) return true;
    if (hasEnded && exchange.moved < exchange.bytes) exchange.hostEnded();
    return exchange.moved === exchange.bytes ? this.#endStage(task, endpoint) : true;
  }

  /** @returns false when a fault holds the task. */
  #beginStage(task: UasTask): boolean {
    if (task.stageBegun === true) return true;
    task.stageBegun = true;
    const phase = task.exchange.direction === "in" ? "dataIn" : "dataOut";
    const actions = this.#faults(phase, task);
    const powerCut = actionOf(actions, "powerCut");
    if (powerCut !== undefined) {
      this.#options.powerCut(powerCut.seed);
      return false;
    }
    task.exchange.beginData(actions);
    this.#hold(task, actions);
    return !task.held;
  }

  #endStage(task: UasTask, endpoint: InEndpoint | OutEndpoint): boolean {
    const { dataIn, unplug } = this.#options;
    const stream = this.#streamOf(task.tag);
    switch (task.exchange.end) {
      case "disconnect":
        unplug();
        return false;
      case "stall":
        task.scsi.abort();
        this.#finish(task);
        this.#halt(endpoint);
        return true;
      case "short":
      case "full":
        // The host may have asked for more than there is: whole packets are ended with an empty one (USB 2.0 §5.8.3).
        this.#finish(task);
        if (endpoint === dataIn && (dataIn.hasBegun(stream) || task.exchange.bytes === 0)) dataIn.sendZlp(stream);
        return true;
    }
  }

  // -------------------------------------------------------------------------------------------------------------------
  // Status pipe

  #finish(task: UasTask): void {
    task.state = "done";
    const { status } = task.exchange.status();
    const { sense } = task.scsi;
    const isGood = status === 0;
    this.#options.tell({ kind: "status", tag: task.tag, status, residueBytes: 0 });
    // Sent with the status, so it is not kept for REQUEST SENSE (SAM-5 §5.13).
    if (sense !== undefined) this.#options.scsi.units[task.lun]?.setSense(SENSE.NONE);
    const bytes = encodeSenseIu(
      task.tag,
      isGood ? SCSI_STATUS.GOOD : SCSI_STATUS.CHECK_CONDITION,
      isGood || sense === undefined ? new Uint8Array(0) : encodeSense(sense),
    );
    this.#say("csw", task.tag, bytes, task);
  }

  #respond(tag: number, responseCode: number): void {
    // There is no stream to say it on.
    if (this.#options.streams !== undefined && !this.#isTag(tag)) return;
    this.#waiting.push({
      tag,
      phase: "task",
      bytes: encodeResponseIu(tag, responseCode),
      actions: [],
      task: undefined,
      held: false,
    });
  }

  #say(phase: "csw" | "ready", tag: number, bytes: Uint8Array, task?: UasTask): void {
    this.#waiting.push({ tag, phase, bytes, actions: undefined, task, held: false });
  }

  /** Sends the first IU that the host reads. @returns false when it reads none. */
  #sendIu(): boolean {
    const { status } = this.#options;
    if (status.halted) return false;
    for (const iu of this.#waiting) {
      const stream = this.#streamOf(iu.tag);
      const room = status.roomOn(stream);
      if (room === undefined || iu.held) continue;
      if (!this.#beginIu(iu)) return true;
      const actions = iu.actions ?? [];
      if (actionOf(actions, "stall") !== undefined) {
        // Sent again when the halt is cleared, without the fault.
        iu.actions = [];
        this.#halt(status);
        return true;
      }
      const isAgain = iu.phase !== "task" && actionOf(actions, "duplicate") !== undefined;
      this.#waiting = this.#waiting.flatMap((one) =>
        one === iu ? (isAgain ? [{ ...iu, actions: [], task: undefined }] : []) : [one],
      );
      if (iu.task !== undefined && iu.phase === "ready") iu.task.state = "data";
      if (iu.task !== undefined && iu.phase === "csw") this.#tasks.delete(iu.tag);
      const bytes = iu.bytes.subarray(0, room);
      if (bytes.length === 0) status.sendZlp(stream);
      else status.send(bytes, true, stream);
      return true;
    }
    return false;
  }

  /** Faults hit an IU once, when the host reads it. @returns false when it is held or the device has gone. */
  #beginIu(iu: WaitingIu): boolean {
    if (iu.actions !== undefined) return true;
    const actions = this.#faults(iu.phase, iu.task ?? {});
    iu.actions = actions;
    if (this.#leaves(actions)) return false;
    this.#hold(iu, actions);
    iu.bytes = faultyIu(iu.bytes, actions);
    return !iu.held;
  }

  // -------------------------------------------------------------------------------------------------------------------

  #streamOf(tag: number): number | undefined {
    return this.#options.streams === undefined ? undefined : tag;
  }

  #faults(phase: FaultPhase, occurrence: { readonly operationCode?: number }): readonly FaultAction[] {
    const { operationCode } = occurrence;
    return this.#options.faults.at(phase, operationCode === undefined ? {} : { operationCode });
  }

  /** @returns true when a fault took the device off the bus. */
  #leaves(actions: readonly FaultAction[]): boolean {
    const powerCut = actionOf(actions, "powerCut");
    if (powerCut !== undefined) this.#options.powerCut(powerCut.seed);
    else if (actionOf(actions, "disconnect") !== undefined) this.#options.unplug();
    else return false;
    return true;
  }

  #halt(endpoint: InEndpoint | OutEndpoint): void {
    if (endpoint.halted) return;
    this.#options.tell({ kind: "halted", endpointAddress: endpoint.endpointAddress });
    endpoint.halt();
  }

  #later(ms: number, act: () => void): void {
    const timer = this.#options.clock.startTimer(ms, () => {
      this.#timers.delete(timer);
      act();
      this.run();
    });
    this.#timers.add(timer);
  }
}
