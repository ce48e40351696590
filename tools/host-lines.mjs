/**
 * Counts what the host process loads: the lines of the modules that `rumpusb run` reaches by imports, without comments and blank
 * lines. It is the code that runs with the rights of the user (docs/security.md).
 *
 *   node tools/host-lines.mjs [--each]     --each: a line for each module
 *
 * What is imported with `import()` is loaded when it is needed, and is counted apart.
 */
import { readFileSync } from "node:fs";
import { dirname, join, normalize } from "node:path";

const ENTRY = "src/cli/main.ts";
const COMMAND = "src/cli/run-command.ts";

const atOnce = reach([ENTRY, COMMAND], false);
const all = reach([COMMAND], true);
const later = new Map([...all].filter(([file]) => !atOnce.has(file)));
if (process.argv.includes("--each")) {
  for (const [when, files] of [
    ["at once", atOnce],
    ["later", later],
  ])
    for (const [file, lines] of [...files].sort((a, b) => b[1] - a[1])) console.log(`${when}\t${lines}\t${file}`);
}
console.log(`at once: ${total(atOnce)} lines in ${atOnce.size} modules; later: ${total(later)} in ${later.size}`);

/** @returns lines of code by file, of everything that the files import. */
function reach(files, follow) {
  const found = new Map();
  const waiting = [...files];
  for (let file = waiting.pop(); file !== undefined; file = waiting.pop()) {
    if (found.has(file)) continue;
    const text = readFileSync(file, "utf8");
    found.set(file, codeLines(text));
    for (const specifier of importsOf(text, follow))
      if (specifier.startsWith(".")) waiting.push(normalize(join(dirname(file), specifier)).replace(/\.js$/, ".ts"));
  }
  return found;
}

/** Types leave nothing behind at run time. */
function* importsOf(text, follow) {
  const pattern = /^(?:import|export)\s+(type\s+)?(\{[^}]*\}\s+from\s+|[^"';{}]*?\sfrom\s+)?"([^"]+)"/gm;
  for (const [, type, names, specifier] of text.matchAll(pattern)) {
    if (type === undefined && !onlyTypes(names)) yield specifier;
  }
  if (!follow) return;
  for (const [, specifier] of text.matchAll(/\bimport\("([^"]+)"\)/g)) yield specifier;
}

/** `{ type A, type B } from` */
function onlyTypes(names) {
  const list = /^\{([^}]*)\}/.exec(names ?? "")?.[1];
  return list !== undefined && list.split(",").every((name) => name.trim() === "" || /^type\s/.test(name.trim()));
}

/** Comments stand on lines of their own here, or behind code. */
function codeLines(text) {
  const code = text.replace(/\/\*[\s\S]*?\*\//g, "").replace(/^\s*\/\/.*$/gm, "");
  return code.split("\n").filter((line) => line.trim() !== "").length;
}

function total(files) {
  return [...files.values()].reduce((sum, lines) => sum + lines, 0);
}
