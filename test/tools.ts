/** Programs of the machine that tests use as third parties. */
import { execFile } from "node:child_process";
import { accessSync, constants } from "node:fs";
import { delimiter, dirname, join } from "node:path";
import type { TestContext } from "vitest";

/** Administrators' programs are not on every user's path. */
const EXTRA_FOLDERS = ["/usr/sbin", "/sbin"];

/**
 * Where a program is. A test whose program is not installed is skipped and says so; in CI (`CI=true`) it fails, for there
 * everything is installed.
 */
export function requireTool(name: string, context: TestContext): string {
  const folders = [...(process.env["PATH"] ?? "").split(delimiter), ...EXTRA_FOLDERS];
  for (const folder of folders) {
    const path = join(folder, name);
    if (isExecutable(path)) return path;
  }
  if (process.env["CI"] === "true") throw new Error(`${name} is not installed, and in CI it must be`);
  return context.skip(`${name} is not installed`);
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

export interface ToolResult {
  /** null when it had to be killed. */
  readonly exitCode: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/**
 * Runs a program to its end, at most `timeoutMs`. Rejects only when it cannot be started. What it starts itself (a script's
 * interpreter) is taken from its own folder first.
 */
export function runTool(path: string, args: readonly string[], timeoutMs = 15_000): Promise<ToolResult> {
  const env = { ...process.env, PATH: [dirname(path), process.env["PATH"] ?? ""].join(delimiter) };
  return new Promise((resolve, reject) => {
    execFile(path, [...args], { env, timeout: timeoutMs, maxBuffer: 16 * 1024 * 1024 }, (error, stdout, stderr) => {
      if (error === null) resolve({ exitCode: 0, stdout, stderr });
      else if (typeof error.code === "number") resolve({ exitCode: error.code, stdout, stderr });
      else if (error.killed === true) resolve({ exitCode: null, stdout, stderr });
      else reject(error);
    });
  });
}
