/**
 * A flash drive as a device model: bulk-only mass storage with SCSI direct-access units, and USB Attached SCSI if asked for.
 *
 * Written from BOT 1.0, UAS r04, SPC-4 and SBC-3; it knows nothing of the driver that will talk to it. Layers, bottom up: the
 * stores (image.ts, volatile-cache.ts), SCSI (scsi/), the transports (bot-target.ts, uas-target.ts), the USB function (function.ts).
 */
import { ENDPOINT_IN, REQUEST, REQUEST_TYPE, type SetupPacket } from "../dev/usb/usb.js";
import type { Clock, Speed, Timer } from "../rumpuser/rumpuser.js";
import type { StageStyle } from "./bot-cases.js";
import { BotTarget } from "./bot-target.js";
import { BOT_REQUEST, MAX_LUN } from "./bot-wire.js";
import type { BusEvent } from "./bus-events.js";
import { type EndpointDescription, type InterfaceDescription, isSuperSpeed } from "./descriptor-set.js";
import { actionOf, type Fault, type FaultAction, FaultScript } from "./faults.js";
import { ACKNOWLEDGED, type ControlReply, UsbFunction } from "./function.js";
import { ImageError, type ImageStore } from "./image.js";
import type { Urb } from "./model.js";
import type { ScsiIdentity } from "./scsi/identity.js";
import { ScsiTarget } from "./scsi/target.js";
import { LogicalUnit, type UnitOptions } from "./scsi/unit.js";
import { UasTarget } from "./uas-target.js";
import { PIPE_ID, pipeUsage, UAS_PROTOCOL } from "./uas-wire.js";

export interface FlashDriveOptions {
  readonly clock: Clock;
  /** One for each LUN, from 0; 1..16. */
  readonly units: readonly UnitOptions[];
  /** Default "high". */
  readonly speed?: Exclude<Speed, "low">;
  /** idVendor and idProduct; default 1209h:0001h, which is set aside for tests. */
  readonly vendorId?: number;
  readonly productId?: number;
  /** What INQUIRY and the string descriptors say. */
  readonly identity?: Partial<ScsiIdentity>;
  /** How short data stages end; default: halt Bulk-In, accept what is too much (BOT 1.0 §6.7). */
  readonly style?: Partial<StageStyle>;
  readonly faults?: readonly Fault[];
  /** Speaks UAS, too. At SuperSpeed with streams. */
  readonly uas?: UasOptions;
}

export interface UasOptions {
  /** Without bulk-only transport in alternate setting 0, which every other drive has for hosts that have no UAS. */
  readonly only?: boolean;
  /** Commands that it takes at a time; more are answered TASK SET FULL. Default 32. */
  readonly maxTasks?: number;
  /** Whose data moves first. Default "arrival". */
  readonly order?: "arrival" | "newest";
}

/** Subclass 06h (SCSI transparent), protocol 50h (BOT) — BOT 1.0 §4.3. */
const MASS_STORAGE = { interfaceClass: 0x08, interfaceSubClass: 0x06, interfaceProtocol: 0x50 };
const INTERFACE_NUMBER = 0;
const BULK_IN = 0x81;
const BULK_OUT = 0x02;
const UAS_STATUS = 0x83;
const UAS_COMMAND = 0x04;
/** 2^5 streams. */
const STREAMS_EXPONENT = 5;
const MAX_TASKS = 32;
const PIDCODES_TEST = { vendor: 0x1209, product: 0x0001 };
const REVISION = 0x0100;
/** The serial number has at least 12 hexadecimal digits (BOT 1.0 §4.1.1). */
const IDENTITY: ScsiIdentity = { vendor: "rumpusb", product: "Flash Drive", revision: "1.00", serial: "52554D505553" };
const STYLE: StageStyle = { shortIn: "stall", excessOut: "accept" };
const TO_INTERFACE = REQUEST_TYPE.CLASS | REQUEST_TYPE.INTERFACE;

export class FlashDrive extends UsbFunction {
  readonly scsi: ScsiTarget;
  /** Rows may be added while the drive runs. */
  readonly faults: FaultScript;
  readonly #clock: Clock;
  readonly #bot: BotTarget;
  readonly #uas: UasTarget | undefined;
  /** The alternate setting in which it speaks UAS. */
  readonly #uasSetting: number | undefined;
  readonly #controlTimers = new Set<Timer>();

  /** Takes over the stores. @throws ImageError, RangeError for options that cannot be. */
  constructor(options: FlashDriveOptions) {
    const identity = { ...IDENTITY, ...options.identity };
    checkUnits(options.units);
    super({
      speed: options.speed ?? "high",
      vendor: options.vendorId ?? PIDCODES_TEST.vendor,
      product: options.productId ?? PIDCODES_TEST.product,
      revision: REVISION,
      manufacturer: identity.vendor,
      productName: identity.product,
      serial: identity.serial,
      maxPowerMa: 200,
      interfaces: interfacesOf(options.uas),
    });
    this.#uasSetting = options.uas === undefined ? undefined : options.uas.only === true ? 0 : 1;
    this.#clock = options.clock;
    this.faults = new FaultScript(options.faults);
    this.scsi = new ScsiTarget(
      identity,
      options.units.map((unit) => new LogicalUnit(unit)),
    );
    const shared = {
      scsi: this.scsi,
      faults: this.faults,
      clock: options.clock,
      tell: (event: BusEvent) => this.tell(event),
      unplug: () => this.unplug(),
      powerCut: (seed: number) => this.powerCut(seed),
    };
    const [dataIn, dataOut] = [this.inEndpoint(BULK_IN), this.outEndpoint(BULK_OUT)];
    this.#bot = new BotTarget({ ...shared, bulkIn: dataIn, bulkOut: dataOut, style: { ...STYLE, ...options.style } });
    if (options.uas === undefined) return;
    this.#uas = new UasTarget({
      ...shared,
      command: this.outEndpoint(UAS_COMMAND),
      status: this.inEndpoint(UAS_STATUS),
      dataIn,
      dataOut,
      streams: isSuperSpeed(this.speed) ? 2 ** STREAMS_EXPONENT : undefined,
      maxTasks: options.uas.maxTasks ?? MAX_TASKS,
      order: options.uas.order ?? "arrival",
    });
  }

  /** Commands that it has taken and not answered, over UAS. */
  get taskCount(): number {
    return this.#uas?.taskCount ?? 0;
  }

  /** Puts a medium into a unit. @throws ImageError when it has one, or is not removable. RangeError: no such unit. */
  insert(lun: number, store: ImageStore): void {
    this.#unit(lun).insert(store);
  }

  /**
   * Takes the medium out by hand, after the drive has written its cache.
   * @returns false when there is none, or the host has locked it and `force` is not set.
   */
  eject(lun: number, options: { readonly force?: boolean } = {}): boolean {
    return this.#unit(lun).eject(options.force);
  }

  /** Puts the medium back that was ejected last. @returns false when there is none. @throws RangeError: no such unit. */
  load(lun: number): boolean {
    return this.#unit(lun).load();
  }

  /** Moves the write-protect tab. */
  setWriteProtected(lun: number, writeProtected: boolean): void {
    this.#unit(lun).setWriteProtected(writeProtected);
  }

  /** The drive loses power: of what the write caches hold, `seed` decides what is lost; then it is unplugged. */
  powerCut(seed: number): void {
    for (const unit of this.scsi.units) unit.cache?.powerCut(seed);
    this.unplug();
  }

  protected override onRequest(setup: SetupPacket, _out: Uint8Array): ControlReply {
    if (setup.wIndex !== INTERFACE_NUMBER || setup.wValue !== 0 || this.#speaksUas) return "stalled";
    const wanted = (bmRequestType: number, bRequest: number, wLength: number): boolean =>
      setup.bmRequestType === bmRequestType && setup.bRequest === bRequest && setup.wLength === wLength;
    if (wanted(REQUEST_TYPE.IN | TO_INTERFACE, BOT_REQUEST.GET_MAX_LUN, 1))
      return Uint8Array.of(this.scsi.units.length - 1);
    if (!wanted(TO_INTERFACE, BOT_REQUEST.RESET, 0)) return "stalled";
    this.tell({ kind: "transportReset" });
    this.#bot.reset();
    return ACKNOWLEDGED;
  }

  protected override onControl(
    setup: SetupPacket,
    answer: () => ControlReply,
    later: (reply: ControlReply) => void,
  ): ControlReply | "held" {
    const actions = this.faults.at("control", { request: setup.bRequest });
    const delay = actionOf(actions, "delay");
    if (this.#leaveBus(actions) || actionOf(actions, "nak") !== undefined) return "held";
    if (actionOf(actions, "stall") !== undefined) return "stalled";
    if (delay === undefined) return changedReply(setup, answer(), actions);
    const timer = this.#clock.startTimer(delay.ms, () => {
      this.#controlTimers.delete(timer);
      later(changedReply(setup, answer(), actions));
    });
    this.#controlTimers.add(timer);
    return "held";
  }

  protected override onTransfer(urb: Urb): boolean {
    const actions = this.faults.at("transfer");
    if (this.#leaveBus(actions)) {
      urb.complete("disconnected");
      return false;
    }
    if (actionOf(actions, "stall") !== undefined) {
      this.tell({ kind: "halted", endpointAddress: urb.endpointAddress });
      const address = urb.endpointAddress;
      ((address & ENDPOINT_IN) !== 0 ? this.inEndpoint(address) : this.outEndpoint(address)).halt();
    }
    return true;
  }

  protected override onEndpointReady(): void {
    if (this.#speaksUas) this.#uas?.run();
    else this.#bot.run();
  }

  protected override onConfigured(): void {
    this.#bot.reset();
    this.#uas?.reset();
  }

  protected override onReset(): void {
    for (const timer of this.#controlTimers) timer.cancel();
    this.#controlTimers.clear();
    this.#bot.reset();
    this.#uas?.reset();
    this.scsi.reset();
  }

  protected override onClose(): Promise<void> {
    for (const unit of this.scsi.units) unit.close();
    return Promise.resolve();
  }

  get #speaksUas(): boolean {
    return this.#uasSetting !== undefined && this.alternateSetting(INTERFACE_NUMBER) === this.#uasSetting;
  }

  /** @returns true when a fault took the drive off the bus. */
  #leaveBus(actions: readonly FaultAction[]): boolean {
    const powerCut = actionOf(actions, "powerCut");
    const leaves = powerCut !== undefined || actionOf(actions, "disconnect") !== undefined;
    if (powerCut !== undefined) this.powerCut(powerCut.seed);
    else if (leaves) this.unplug();
    return leaves;
  }

  #unit(lun: number): LogicalUnit {
    const unit = this.scsi.units[lun];
    if (unit === undefined) throw new RangeError(`no LUN ${lun}: the drive has ${this.scsi.units.length}`);
    return unit;
  }
}

/** BOT in alternate setting 0 and UAS in the next one, as hosts without UAS need it (UAS r04, USB resource requirements). */
function interfacesOf(uas: UasOptions | undefined): InterfaceDescription[] {
  const bot: InterfaceDescription = {
    interfaceNumber: INTERFACE_NUMBER,
    ...MASS_STORAGE,
    endpoints: [
      { endpointAddress: BULK_IN, type: "bulk" },
      { endpointAddress: BULK_OUT, type: "bulk" },
    ],
  };
  if (uas === undefined) return [bot];
  const pipe = (endpointAddress: number, pipeId: number): EndpointDescription => ({
    endpointAddress,
    type: "bulk",
    extra: [pipeUsage(pipeId)],
    ...(pipeId === PIPE_ID.COMMAND ? {} : { streamsExponent: STREAMS_EXPONENT }),
  });
  const attached: InterfaceDescription = {
    interfaceNumber: INTERFACE_NUMBER,
    alternateSetting: uas.only === true ? 0 : 1,
    ...MASS_STORAGE,
    interfaceProtocol: UAS_PROTOCOL,
    endpoints: [
      pipe(UAS_COMMAND, PIPE_ID.COMMAND),
      pipe(UAS_STATUS, PIPE_ID.STATUS),
      pipe(BULK_IN, PIPE_ID.DATA_IN),
      pipe(BULK_OUT, PIPE_ID.DATA_OUT),
    ],
  };
  return uas.only === true ? [attached] : [bot, attached];
}

function checkUnits(units: readonly UnitOptions[]): void {
  if (units.length < 1 || units.length > MAX_LUN + 1)
    throw new RangeError(`${units.length} units; a drive has 1 to ${MAX_LUN + 1} (BOT 1.0 §3.2)`);
  for (const { blockBytes } of units) {
    if (![512, 1024, 2048, 4096].includes(blockBytes))
      throw new ImageError(`blocks of ${blockBytes} bytes; a drive has 512, 1024, 2048 or 4096`);
  }
}

/** The reply with the faults `reply` and `corrupt` in it, where they name its descriptor type or none. */
function changedReply(setup: SetupPacket, reply: ControlReply, actions: readonly FaultAction[]): ControlReply {
  if ((setup.bmRequestType & REQUEST_TYPE.IN) === 0) return reply;
  const isDescriptor =
    setup.bRequest === REQUEST.GET_DESCRIPTOR &&
    (setup.bmRequestType & REQUEST_TYPE.TYPE_MASK) === REQUEST_TYPE.STANDARD;
  const type = isDescriptor ? setup.wValue >> 8 : undefined;
  const fits = (action: { readonly descriptor?: number }): boolean =>
    action.descriptor === undefined || action.descriptor === type;
  const replaced = actionOf(actions, "reply");
  let answer = replaced !== undefined && fits(replaced) ? replaced.bytes : reply;
  for (const action of actions) {
    if (action.kind !== "corrupt" || !fits(action) || answer === "stalled" || action.at >= answer.length) continue;
    answer = answer.slice();
    answer[action.at] = action.value;
  }
  return answer;
}
