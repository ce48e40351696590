/** What was thrown, which may be anything. */

/** The `code` of a Node system error (`ENOENT`), or "" for anything else. */
export function errnoOf(error: unknown): string {
  if (error instanceof Error && "code" in error && typeof error.code === "string") return error.code;
  return "";
}

export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
