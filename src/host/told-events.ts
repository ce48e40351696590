/** Events that the pud process tells, held against what an event is: it may have been taken over by whoever it talks to. */
import type { HostEvent } from "./events.js";
import { printable } from "./text.js";

type Kind = "string" | "number" | "boolean";
/** `name?`: it may be left out. */
type Fields = Readonly<Record<string, Kind>>;

/** The events that are not the host process's own, with everything that they may say. */
const EVENTS: Readonly<Record<string, Fields>> = {
  sandbox: { device: "string" },
  device: {
    device: "string",
    vendor: "string",
    product: "string",
    driver: "string",
    pid: "number",
    "mode?": "string",
  },
  demotion: { device: "string", mode: "string", reason: "string" },
  node: {
    node: "string",
    kind: "string",
    device: "string",
    "size?": "number",
    "blockBytes?": "number",
    "readOnly?": "boolean",
    "model?": "string",
  },
  "node-gone": { node: "string", device: "string", reason: "string" },
  link: { node: "string", link: "string", uri: "string", "path?": "string" },
  detach: { device: "string" },
  restart: { device: "string", pid: "number", reason: "string", downMs: "number", count: "number" },
  quarantine: { device: "string", failures: "number", reason: "string" },
  unplug: { device: "string", graceMs: "number" },
  replug: { device: "string", pid: "number", downMs: "number" },
  error: { code: "string", message: "string", "device?": "string" },
  log: { level: "string", source: "string", message: "string" },
};

/** Fields that may have several lines. */
const LONG_TEXTS: ReadonlySet<string> = new Set(["message", "reason"]);
/** Its class (CLASS_NAME of pud/payloads.ts) and its unit; it is printed in commands for a shell. */
const NODE_NAME = /^[a-z][A-Za-z]{0,14}\d{1,4}$/;

const MAX_LINES = 32;
const MAX_LINE_CHARS = 1024;

/** @returns the event with texts made printable. @throws Error it is none. */
export function checkedEvent(told: unknown): HostEvent {
  const given = (typeof told === "object" && told !== null ? told : {}) as Readonly<Record<string, unknown>>;
  const name = given["event"];
  const fields = typeof name === "string" && Object.hasOwn(EVENTS, name) ? EVENTS[name] : undefined;
  if (fields === undefined) throw new Error(`an event ${JSON.stringify(name)}`);
  const event: Record<string, unknown> = { event: name };
  for (const [field, kind] of Object.entries(fields)) {
    const key = field.replace("?", "");
    const value = given[key];
    if (value === undefined && key !== field) continue;
    if (typeof value !== kind) throw new Error(`event ${String(name)}: ${key} is no ${kind}`);
    event[key] = typeof value === "string" ? checkedText(key, value) : value;
  }
  return event as unknown as HostEvent;
}

/** @throws Error it is no name of a node. */
function checkedText(key: string, text: string): string {
  if (key === "node" && !NODE_NAME.test(text)) throw new Error("an event of a node without a name");
  return LONG_TEXTS.has(key) ? printableLines(text) : printable(text, MAX_LINE_CHARS);
}

/** Messages may have several lines. */
export function printableLines(text: string): string {
  const lines = text.split("\n", MAX_LINES).map((line) => {
    const indent = line.startsWith("  ") ? "  " : "";
    return indent + printable(line, MAX_LINE_CHARS);
  });
  return lines.join("\n");
}
