/** Events of a running host, for programs (one JSON object a line) and for people. */
import type { DeviceEvent, EmitEvent, HostEvent, LinkEvent, NodeEvent, SandboxEvent } from "../host/events.js";
import { printable } from "../host/text.js";
import type { Output } from "./output.js";

/** One object a line on stdout. What people must know goes to stderr as well. */
export function jsonPrinter(output: Output): EmitEvent {
  return (event) => {
    if (event.event === "log") return output.talk(`${event.source}: ${event.message}`);
    if (event.event === "error") output.talk(`rumpusb: ${event.message}`);
    output.data(JSON.stringify(event));
  };
}

/** Lines for people: what there is on stdout, what went wrong on stderr. */
export function humanPrinter(output: Output): EmitEvent {
  return (event) => {
    for (const line of describe(event)) {
      if (event.event === "error" || event.event === "log") output.talk(line);
      else output.data(line);
    }
  };
}

/** Lines by what has happened. */
const DESCRIBE: { readonly [E in HostEvent as E["event"]]: (event: E) => readonly string[] } = {
  sandbox: sandboxLines,
  device: (event) => [describeDevice(event)],
  demotion: ({ device, mode, reason }) => [`${device}: mode ${mode} from now on (${reason})`],
  node: (event) => [`${event.node}: ${describeNode(event)} on ${event.device}`],
  "node-gone": ({ node, reason }) => [`${node}: gone (${reason})`],
  link: linkLines,
  ready: ({ nodes }) => [
    nodes.length > 0 ? "Ready. Ctrl-C ends it." : "Waiting for a device, or a medium in it. Ctrl-C ends it.",
  ],
  detach: ({ device }) => [`${device}: detached`],
  restart: ({ device, pid, downMs, reason }) => [
    `${device}: driver restarted in process ${pid} after ${Math.round(downMs)} ms (${reason})`,
  ],
  quarantine: ({ device, failures, reason }) => [
    `${device}: left alone after ${failures} driver processes died (${reason})`,
    `  try again   plug it in anew, or: kill -USR2 ${process.pid}`,
  ],
  unplug: ({ device, graceMs }) => [`${device}: unplugged; waiting ${graceMs / 1000} s for it to come back`],
  replug: ({ device, pid, downMs }) => [`${device}: back in process ${pid} after ${Math.round(downMs)} ms`],
  error: ({ message }) => [`rumpusb: ${message}`],
  log: ({ source, message }) => [`${source}: ${message}`],
};

function describe<E extends HostEvent>(event: E): readonly string[] {
  return (DESCRIBE[event.event] as (event: E) => readonly string[])(event);
}

/** The level, and a line for each layer that is not there. */
function sandboxLines({ device, level, missing }: SandboxEvent): string[] {
  const lines = missing.map(
    ({ layer, reason, help }) => `  without ${layer}: ${reason}${help === undefined ? "" : `; ${help}`}`,
  );
  return [`${device}: sandbox ${level}`, ...lines];
}

function describeDevice({ device, vendor, product, driver, pid, mode }: DeviceEvent): string {
  return `${device}: ${vendor}:${product}, driver ${driver} in process ${pid}${mode === undefined ? "" : `, ${mode}`}`;
}

function describeNode({ kind, size, blockBytes, readOnly, model }: NodeEvent): string {
  const parts = [size === undefined ? kind : `${kind} of ${formatBytes(size)}`];
  if (model !== undefined) parts.push(model);
  if (blockBytes !== undefined) parts.push(`blocks of ${blockBytes} bytes`);
  if (readOnly === true) parts.push("read-only");
  return parts.join(", ");
}

/** The address, and the commands with which it can be looked at. */
function linkLines({ node, link, uri, path }: LinkEvent): string[] {
  const address = `${node}: ${link} ${path ?? uri}`;
  if (link !== "nbd") return [address];
  if (path !== undefined) return [address, `  mount it    sudo mount ${quote(path)} /mnt`];
  const socket = new URL(uri).searchParams.get("socket");
  const mount =
    socket === null
      ? []
      : [
          `  kernel      sudo nbd-client -unix ${quote(printable(socket, MAX_PATH_CHARS))} /dev/nbd0 -name ${node} && sudo mount /dev/nbd0 /mnt`,
        ];
  return [address, `  look at it  nbdinfo ${quote(uri)}`, `  copy it     nbdcopy ${quote(uri)} ${node}.img`, ...mount];
}

/** Of a Unix socket, unix(7): far fewer. */
const MAX_PATH_CHARS = 1024;

/** For a POSIX shell. */
export function quote(text: string): string {
  return /^[A-Za-z0-9_./:=@%+,-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`;
}

const UNITS = ["bytes", "KiB", "MiB", "GiB", "TiB", "PiB"];

/** `16.0 MiB`. */
export function formatBytes(bytes: number): string {
  let value = bytes;
  let unit = 0;
  while (value >= 1024 && unit < UNITS.length - 1) {
    value /= 1024;
    unit++;
  }
  return `${unit === 0 ? value : value.toFixed(1)} ${UNITS[unit] ?? ""}`;
}
