/** How a process ended. */
export interface ProcessExit {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

/** `signal SIGKILL`, `status 1`. */
export function describeExit({ code, signal }: ProcessExit): string {
  return signal !== null ? `signal ${signal}` : `status ${code ?? "unknown"}`;
}
