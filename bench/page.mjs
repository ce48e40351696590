/** The sections of docs/benchmarks.md that the benchmarks write themselves, with `--write`. */
import { readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

const PAGE = fileURLToPath(new URL("../docs/benchmarks.md", import.meta.url));

/** Puts `lines` between `<!-- name -->` and `<!-- /name -->`. @throws if the page has no such place. */
export function writeSection(name, lines) {
  const page = readFileSync(PAGE, "utf8");
  const [begin, end] = [`<!-- ${name} -->`, `<!-- /${name} -->`];
  const [from, to] = [page.indexOf(begin), page.indexOf(end)];
  if (from < 0 || to < from) throw new Error(`${PAGE} has no place for "${name}" (${begin})`);
  writeFileSync(PAGE, `${page.slice(0, from + begin.length)}\n${lines.join("\n")}\n${page.slice(to)}`);
}
