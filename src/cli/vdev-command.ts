/** `rumpusb vdev KIND`: a simulated device, served over USB/IP until it is told to stop. */
import { join } from "node:path";
import type { Command } from "commander";
import { HostError, type HostErrorCode, errnoOf, messageOf } from "../host/errors.js";
import { ensureRuntimeDir, runtimeDirOfUser } from "../host/runtime-dir.js";
import { SIMULATED_BUS_ID } from "../host/sources/simulator.js";
import { realClock } from "../rumpuser/real/clock.js";
import { createModel, modelKinds, type ModelOptions } from "../vdev/kinds.js";
import type { DeviceModel } from "../vdev/model.js";
import { type ListenAddress, type ModelServer, serveModels } from "../vdev/server.js";
import type { CommandContext } from "./context.js";
import type { Output } from "./output.js";
import { onStopSignal } from "./signals.js";
import { CONTROL_HELP, obey } from "./vdev-control.js";
import { tellBusEvents } from "./vdev-events.js";

interface VdevOptions {
  readonly listen?: string;
  readonly json?: boolean;
  readonly endWithStdin?: boolean;
  readonly keepState?: boolean;
  readonly requests?: boolean;
}

export function vdevCommand(program: Command, context: CommandContext): void {
  program
    .command("vdev")
    .summary("serve a simulated device over USB/IP, until Ctrl-C")
    .argument(
      "<kind>",
      modelKinds()
        .map(({ kind, summary }) => `${kind}: ${summary}`)
        .join("; "),
    )
    .argument("[option...]", "options of the kind, key=value")
    .option("--listen <where>", "unix:PATH or 127.0.0.1:PORT (default: a socket in the runtime directory)")
    .option("--json", "where it listens and what happens as one JSON object per line")
    .option("--requests", "every control request that arrives, too")
    .option("--end-with-stdin", "end at the end of the standard input, as at Ctrl-C")
    .option("--keep-state", "no reset between two clients: as a device that is plugged in here")
    .addHelpText("after", helpText())
    .action(async (kind: string, words: string[], options: VdevOptions) => {
      await serveDevice(kind, parseModelOptions(words), options, context.output);
    });
}

function helpText(): string {
  const kinds = modelKinds().map(({ kind, options }) =>
    [`\nOptions of ${kind}:`, ...Object.entries(options).map(([name, help]) => `  ${name.padEnd(12)} ${help}`)].join(
      "\n",
    ),
  );
  return [...kinds, `\nCommands on the standard input: ${CONTROL_HELP}`].join("\n");
}

async function serveDevice(
  kind: string,
  modelOptions: ModelOptions,
  options: VdevOptions,
  output: Output,
): Promise<void> {
  const listen = options.listen === undefined ? await defaultListen() : parseListen(options.listen);
  const { model, server } = await makeServer(kind, modelOptions, listen, options.keepState ?? false, output);
  const signal = onStopSignal(() => Promise.resolve());
  try {
    const where = describeAddress(server.address);
    if (options.json === true) {
      output.data(JSON.stringify({ event: "listening", listen: where, busId: SIMULATED_BUS_ID }));
    } else {
      output.data(`${kind}: listening on ${where}, bus id ${SIMULATED_BUS_ID}`);
      output.data(`  drive it  rumpusb run usbip:${where}/${SIMULATED_BUS_ID}`);
      output.data(`  commands  ${CONTROL_HELP}`);
    }
    await untilStopped(signal.stopped, { model, server }, options, output);
  } finally {
    signal.dispose();
    await server.close();
    await model.close();
  }
}

/** At a signal, or at the end of the input when that was asked for. */
async function untilStopped(
  stopped: Promise<string>,
  device: { readonly model: DeviceModel; readonly server: ModelServer },
  { json = false, endWithStdin = false, requests = false }: VdevOptions,
  output: Output,
): Promise<void> {
  let inputEnded = (): void => {};
  const endOfInput = new Promise<void>((resolve) => {
    inputEnded = resolve;
  });
  const answer = (line: string): void => {
    if (json) output.data(JSON.stringify({ event: "answer", message: line }));
    else output.data(line);
  };
  const stopObserving = tellBusEvents(device.model, { json, requests }, output);
  const stopReading = obey(process.stdin, { ...device, busId: SIMULATED_BUS_ID }, answer, () => inputEnded());
  try {
    await Promise.race(endWithStdin ? [stopped, endOfInput] : [stopped]);
  } finally {
    stopReading();
    stopObserving();
  }
}

async function makeServer(
  kind: string,
  modelOptions: ModelOptions,
  listen: ListenAddress,
  keepState: boolean,
  output: Output,
): Promise<{ model: DeviceModel; server: ModelServer }> {
  let model: DeviceModel | undefined;
  try {
    model = createModel(kind, modelOptions, { clock: realClock });
    const log = {
      write: ({ level, source, message }: { level: string; source: string; message: string }): void => {
        if (level === "warn" || level === "error") output.talk(`${source}: ${message}`);
      },
    };
    const server = await serveModels({ listen, exports: [{ busId: SIMULATED_BUS_ID, model }], keepState, log });
    return { model, server };
  } catch (error) {
    await model?.close();
    const code = ERROR_CODES[errnoOf(error)];
    throw code === undefined ? error : new HostError(code, messageOf(error), { cause: error });
  }
}

/** What the errors of models and their server mean for the command line. */
const ERROR_CODES: Readonly<Record<string, HostErrorCode>> = {
  OPTION: "USAGE",
  FAULT_TEXT: "USAGE",
  IMAGE: "SIMULATION",
  LISTEN_PATH: "USAGE",
  LISTEN_REMOTE: "USAGE",
  LISTEN_IN_USE: "SIMULATION",
  LISTEN_NOT_A_SOCKET: "SIMULATION",
  LISTEN_FAILED: "SIMULATION",
};

async function defaultListen(): Promise<ListenAddress> {
  const folder = runtimeDirOfUser();
  await ensureRuntimeDir(folder, process.getuid?.() ?? 0);
  return { unix: join(folder, `vdev-${process.pid}.sock`) };
}

/** @throws HostError USAGE */
export function parseListen(text: string): ListenAddress {
  if (text.startsWith("unix:/")) return { unix: text.slice("unix:".length) };
  const [, host, port] = /^(\[[0-9a-fA-F:]+\]|[0-9A-Za-z.-]+):([0-9]{1,5})$/.exec(text) ?? [];
  const portNumber = Number(port);
  if (host === undefined || !(portNumber <= 0xffff))
    throw new HostError("USAGE", `--listen "${text}": allowed are unix:/PATH and 127.0.0.1:PORT`);
  return { host: host.replace(/^\[|\]$/g, ""), port: portNumber };
}

function describeAddress(address: ListenAddress): string {
  return "unix" in address ? `unix:${address.unix}` : `${address.host}:${address.port ?? 0}`;
}

/** `key=value`, or `key` for a flag; a key that comes twice is a list. @throws HostError USAGE */
export function parseModelOptions(words: readonly string[]): ModelOptions {
  const options = new Map<string, string | string[]>();
  for (const word of words) {
    const [, key, value = ""] = /^([A-Za-z][A-Za-z0-9]*)(?:=(.*))?$/s.exec(word) ?? [];
    if (key === undefined) throw new HostError("USAGE", `option "${word}" is not key=value`);
    const earlier = options.get(key);
    options.set(key, earlier === undefined ? value : [earlier, value].flat());
  }
  return Object.fromEntries(options);
}
