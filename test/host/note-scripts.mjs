/** Preloaded into a process: notes every script that V8 compiles, whoever loads it, in the file NOTE_SCRIPTS.PID. */
import { appendFileSync } from "node:fs";
import { Session } from "node:inspector";

const path = `${process.env.NOTE_SCRIPTS}.${process.pid}`;
const session = new Session();
session.connect();
session.on("Debugger.scriptParsed", ({ params }) => {
  if (params.url !== "") appendFileSync(path, `${params.url}\n`);
});
session.post("Debugger.enable");
