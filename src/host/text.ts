/** Text that came from a device or another process, made safe for terminals, logs and JSON lines. */

/** Unicode categories that move the cursor, hide or reorder text: control, format, surrogate, private use, separators. */
const UNPRINTABLE = /[\p{Cc}\p{Cf}\p{Cs}\p{Co}\p{Zl}\p{Zp}]/gu;

/** One line of printable text: anything else becomes `?`, blanks at the ends go, and it is cut at `maxChars`. */
export function printable(text: string, maxChars = 128): string {
  const clean = text
    .slice(0, maxChars * 2)
    .replace(UNPRINTABLE, "?")
    .trim();
  return clean.length > maxChars ? `${clean.slice(0, maxChars - 1)}…` : clean;
}
