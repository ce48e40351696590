/**
 * The line protocol between a guest and the lab, over a serial port.
 *
 * Guest to host: `LAB-SCRIPT name` before each script; `PASS name`, `FAIL name: reason`, `SKIP name: reason` for each
 * check; `LAB-DONE count` behind each script, with the number of its results; `LAB-NOTE text`; `LAB-REQUEST verb argument…`, which
 * waits for one answer line; `LAB-END` when every script has run; `LAB-OFF`, which waits for one as well, before it goes.
 * Host to guest: `LAB-ANSWER ok text` or `LAB-ANSWER error text`.
 */

/** A guest that sends more without a line end is not talking this protocol. */
const MAX_LINE_CHARS = 4096;

/**
 * Reads lines from `input` until it ends.
 *
 * @param input    readable stream of the guest's lines.
 * @param output   writable stream back to the guest.
 * @param handlers `{report, request}`: the Report that takes the lines; `request(verb, args)` returns a promise of the answer's text.
 */
export function serveChannel(input, output, { report, request }) {
  let pending = "";
  input.setEncoding("utf8");
  input.on("data", (text) => {
    const lines = (pending + text).split("\n");
    pending = lines.pop() ?? "";
    for (const line of lines) takeLine(line.replace(/\r$/, ""));
    if (pending.length > MAX_LINE_CHARS) {
      report.take(`FAIL channel: a line of more than ${MAX_LINE_CHARS} characters came from the guest`);
      input.destroy();
    }
  });
  // The guest's power-off ends the stream in whatever way the kernel tears it down; an incomplete run is seen by the missing LAB-END.
  input.on("error", (error) => report.note(`channel: ${error.message}`));
  if (output !== input) output.on("error", (error) => report.note(`channel: ${error.message}`));

  function takeLine(line) {
    if (line === "LAB-OFF") {
      output.write("LAB-ANSWER ok\n");
      return;
    }
    const asked = /^LAB-REQUEST (\S+) ?(.*)$/.exec(line);
    if (asked === null) {
      report.take(line);
      return;
    }
    const [, verb, args] = asked;
    request(
      verb,
      args.split(" ").filter((word) => word !== ""),
    ).then(
      (answer) => output.write(`LAB-ANSWER ok ${answer}\n`),
      (error) => output.write(`LAB-ANSWER error ${oneLine(error.message)}\n`),
    );
  }
}

function oneLine(text) {
  return text.replace(/\s+/g, " ").slice(0, 500);
}
