/** Runs the process that a guest kernel lives in: its console, its time limit, its end. */
import { spawn } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join } from "node:path";

/** Kept of the console; what comes later is counted, not stored. */
const MAX_CONSOLE_CHARS = 16 * 1024 * 1024;
/** From asking the guest process to end to killing it with everything it started. */
const KILL_AFTER_MS = 3000;

/**
 * Starts `command` in a process group of its own and waits for its end, or ends it at the time limit.
 *
 * @param extraStdio stdio entries from descriptor 3 on.
 * @param started    called with the child when it runs.
 * @returns `{timedOut, status, console}`: status is text for people, console is what came on stdout and stderr.
 */
export function runGuest({ command, args, seconds, env, extraStdio = [], started }) {
  return new Promise((resolvePromise, reject) => {
    const child = spawn(command, args, { stdio: ["ignore", "pipe", "pipe", ...extraStdio], detached: true, env });
    let text = "";
    let timedOut = false;
    const append = (chunk) => {
      if (text.length < MAX_CONSOLE_CHARS) text += chunk;
    };
    for (const stream of [child.stdout, child.stderr]) stream.setEncoding("utf8").on("data", append);
    const killGroup = (signal) => {
      try {
        process.kill(-child.pid, signal);
      } catch (error) {
        if (error.code !== "ESRCH") throw error;
      }
    };
    let killer;
    const stop = () => {
      killGroup("SIGTERM");
      killer ??= setTimeout(() => killGroup("SIGKILL"), KILL_AFTER_MS);
    };
    const limit = setTimeout(() => {
      timedOut = true;
      stop();
    }, seconds * 1000);
    const interrupted = () => stop();
    process.on("SIGINT", interrupted).on("SIGTERM", interrupted);
    const tidy = () => {
      clearTimeout(limit);
      clearTimeout(killer);
      process.off("SIGINT", interrupted).off("SIGTERM", interrupted);
    };
    child.on("error", (error) => {
      tidy();
      reject(error);
    });
    child.on("close", (code, signal) => {
      tidy();
      killGroup("SIGKILL");
      resolvePromise({ timedOut, status: signal ?? `status ${code}`, console: text });
    });
    started?.(child);
  });
}

/** Writes the settings that guest/session.sh reads, as shell assignments. */
export function writeSettings(runFolder, settings) {
  const lines = Object.entries(settings).map(([name, value]) => `${name}='${value.replaceAll("'", `'\\''`)}'\n`);
  writeFileSync(join(runFolder, "session.env"), lines.join(""));
}
