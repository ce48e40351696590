/**
 * The device's side of the Bulk-Only Transport: CBW, data, CSW (BOT 1.0 §5, §6), with scripted faults.
 *
 * A state machine that goes as far as the host's transfers let it, and is poked whenever one arrives. The host may queue
 * the transfers of a command together or one after another, and cut the data stage as it likes. Data for the host is
 * handed on as views of the medium.
 *
 * Completing a transfer can re-enter the model (the bus submits the next one, or resets the device), so state is changed
 * before a transfer is completed, and what follows a completion looks at the state again.
 */
import type { Clock, Timer } from "../rumpuser/rumpuser.js";
import type { StageStyle } from "./bot-cases.js";
import { encodeStatus, Exchange } from "./bot-exchange.js";
import { parseCommand } from "./bot-wire.js";
import type { BusEvent } from "./bus-events.js";
import type { InEndpoint, OutEndpoint } from "./endpoint.js";
import { actionOf, type FaultAction, type FaultPhase, type FaultScript } from "./faults.js";
import { commandName, type ScsiTarget } from "./scsi/target.js";

/** Where the operation code stands in a CBW (BOT 1.0 Table 5.1). */
const OPERATION_CODE_AT = 15;

export interface BotTargetOptions {
  readonly scsi: ScsiTarget;
  readonly bulkIn: InEndpoint;
  readonly bulkOut: OutEndpoint;
  readonly style: StageStyle;
  readonly faults: FaultScript;
  readonly clock: Clock;
  readonly tell: (event: BusEvent) => void;
  /** The device drops off the bus. */
  readonly unplug: () => void;
  /** The same, and what the write cache holds is lost as `seed` decides. */
  readonly powerCut: (seed: number) => void;
}

/** The command stage waits for a CBW; a wedged device waits for reset recovery (BOT 1.0 §5.3.4). */
type Stage =
  | { readonly name: "command" | "wedged" }
  | { readonly name: "data"; readonly exchange: Exchange }
  | { readonly name: "status"; readonly exchange: Exchange; csw: Uint8Array | undefined; sent: number };

export class BotTarget {
  readonly #options: BotTargetOptions;
  #stage: Stage = { name: "command" };
  /** Faults that hit the stage; undefined until it begins. */
  #actions: readonly FaultAction[] | undefined;
  /** A fault keeps the device from answering: with a timer, or until a reset. */
  #held: { readonly timer: Timer | undefined } | undefined;
  #running = false;
  #poked = false;

  constructor(options: BotTargetOptions) {
    this.#options = options;
  }

  /** Goes on as far as it can. */
  run(): void {
    this.#poked = true;
    if (this.#running) return;
    this.#running = true;
    try {
      while (this.#poked) {
        this.#poked = false;
        while (this.#held === undefined && this.#step());
      }
    } finally {
      this.#running = false;
    }
  }

  /** Ready for a CBW, whatever was going on; halts stay as they are (BOT 1.0 §3.1). */
  reset(): void {
    this.#held?.timer?.cancel();
    this.#held = undefined;
    this.#enter({ name: "command" });
  }

  #enter(stage: Stage): void {
    this.#stage = stage;
    this.#actions = undefined;
  }

  /** One step of the current stage. @returns false when it waits for the host. */
  #step(): boolean {
    const stage = this.#stage;
    switch (stage.name) {
      case "command":
        return this.#takeCommand();
      case "data":
        return stage.exchange.direction === "in" ? this.#sendData(stage.exchange) : this.#takeData(stage.exchange);
      case "status":
        return this.#sendStatus(stage);
      case "wedged":
        this.#halt(this.#options.bulkIn);
        this.#halt(this.#options.bulkOut);
        return false;
    }
  }

  /**
   * Looks up the faults of a stage when it begins.
   * @returns undefined when one of them keeps the stage from going on now.
   */
  #begin(phase: FaultPhase, operationCode: number | undefined): readonly FaultAction[] | undefined {
    if (this.#actions !== undefined) return this.#actions;
    const actions = this.#options.faults.at(phase, operationCode === undefined ? {} : { operationCode });
    this.#actions = actions;
    const powerCut = actionOf(actions, "powerCut");
    const delay = actionOf(actions, "delay");
    if (powerCut !== undefined) this.#options.powerCut(powerCut.seed);
    else if (actionOf(actions, "nak") !== undefined) this.#held = { timer: undefined };
    else if (delay !== undefined) this.#delay(delay.ms);
    else return actions;
    return undefined;
  }

  #delay(ms: number): void {
    const timer = this.#options.clock.startTimer(ms, () => {
      this.#held = undefined;
      this.run();
    });
    this.#held = { timer };
  }

  #halt(endpoint: InEndpoint | OutEndpoint): void {
    if (endpoint.halted) return;
    this.#options.tell({ kind: "halted", endpointAddress: endpoint.endpointAddress });
    endpoint.halt();
  }

  #takeCommand(): boolean {
    const { bulkOut, scsi, style, tell } = this.#options;
    const packet = bulkOut.available?.subarray(0, bulkOut.maxPacketBytes);
    if (packet === undefined) return false;
    const actions = this.#begin("cbw", packet[OPERATION_CODE_AT]);
    if (actions === undefined) return false;
    if (actionOf(actions, "disconnect") !== undefined) {
      this.#options.unplug();
      return false;
    }
    if (actionOf(actions, "stall") !== undefined) {
      this.#enter({ name: "command" });
      this.#halt(bulkOut);
      return true;
    }
    const cbw = parseCommand(packet);
    if (cbw === undefined) {
      this.#enter({ name: "wedged" });
      bulkOut.take(packet.length);
      return true;
    }
    const cdb = cbw.CBWCB.subarray(0, cbw.bCBWCBLength);
    tell({ kind: "command", lun: cbw.bCBWLUN, tag: cbw.dCBWTag, cdb, name: commandName(cdb[0] ?? 0) });
    const task = scsi.start(cbw.bCBWLUN, cbw.CBWCB, cbw.bCBWCBLength);
    const exchange = new Exchange(cbw, task, style, actionOf(actions, "phaseError") !== undefined);
    if (exchange.direction === "none") this.#toStatus(exchange);
    else this.#enter({ name: "data", exchange });
    bulkOut.take(packet.length);
    return true;
  }

  #sendData(exchange: Exchange): boolean {
    const { bulkIn } = this.#options;
    if (!this.#beginData("dataIn", exchange)) return false;
    const left = exchange.bytes - exchange.moved;
    if (left === 0) return this.#endData(exchange, bulkIn);
    const { room } = bulkIn;
    if (room === undefined) return false;
    const data = exchange.read(Math.min(room, left));
    if (data !== undefined) exchange.moved += bulkIn.send(data, data.length === left);
    return true;
  }

  #takeData(exchange: Exchange): boolean {
    const { bulkOut } = this.#options;
    if (!this.#beginData("dataOut", exchange)) return false;
    const left = exchange.bytes - exchange.moved;
    if (left === 0) return this.#endData(exchange, bulkOut);
    const data = bulkOut.available?.subarray(0, left);
    if (data === undefined) return false;
    exchange.write(data);
    exchange.moved += data.length;
    if (bulkOut.take(data.length) && exchange.moved < exchange.bytes) exchange.hostEnded();
    return true;
  }

  #beginData(phase: "dataIn" | "dataOut", exchange: Exchange): boolean {
    const actions = this.#begin(phase, exchange.operationCode);
    if (actions === undefined) return false;
    exchange.beginData(actions);
    return true;
  }

  /** The data stage has moved what it can. @returns false when it waits for the host to take a zero-length packet. */
  #endData(exchange: Exchange, endpoint: InEndpoint | OutEndpoint): boolean {
    switch (exchange.end) {
      case "full":
        this.#toStatus(exchange);
        return true;
      case "stall":
        this.#toStatus(exchange);
        this.#halt(endpoint);
        return true;
      case "disconnect":
        this.#options.unplug();
        return false;
      case "short": {
        const { bulkIn } = this.#options;
        const wantsZlp = exchange.bytes % bulkIn.maxPacketBytes === 0;
        if (wantsZlp && bulkIn.room === undefined) return false;
        this.#toStatus(exchange);
        if (wantsZlp) bulkIn.sendZlp();
        return true;
      }
    }
  }

  #toStatus(exchange: Exchange): void {
    this.#enter({ name: "status", exchange, csw: undefined, sent: 0 });
  }

  #sendStatus(stage: Extract<Stage, { readonly name: "status" }>): boolean {
    const { bulkIn, unplug } = this.#options;
    if (bulkIn.halted) return false;
    const actions = this.#begin("csw", stage.exchange.operationCode);
    if (actions === undefined) return false;
    if (actionOf(actions, "disconnect") !== undefined) {
      unplug();
      return false;
    }
    if (actionOf(actions, "stall") !== undefined) {
      // The halt ends this attempt; after it is cleared the next one is another occurrence (BOT 1.0 §5.3.3).
      this.#actions = undefined;
      this.#halt(bulkIn);
      return true;
    }
    const csw = (stage.csw ??= this.#status(stage.exchange, actions));
    const { room } = bulkIn;
    if (room === undefined) return false;
    const part = csw.subarray(stage.sent, stage.sent + room);
    const last = stage.sent + part.length === csw.length;
    if (last) this.#enter({ name: "command" });
    if (csw.length === 0) bulkIn.sendZlp();
    else stage.sent += bulkIn.send(part, last);
    return true;
  }

  #status(exchange: Exchange, actions: readonly FaultAction[]): Uint8Array {
    const status = exchange.status();
    this.#options.tell({ kind: "status", tag: exchange.cbw.dCBWTag, ...status });
    return encodeStatus(exchange.cbw.dCBWTag, status, actions);
  }
}
