/**
 * Text in frames: UTF-8, bounded, cut between characters; made safe where it is read, because the reader cannot know
 * who wrote it.
 */

/**
 * What a terminal, a log file or a person would take for something else: control characters (C0, DEL, C1), line and
 * paragraph separators, and the marks that reverse the direction of what follows (U+200E, U+200F, U+202A-E, U+2066-9).
 */
const UNSAFE = /[\p{Cc}\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff]/gu;

/** UTF-8 of at most `maxBytes` bytes, cut at the start of the character that does not fit. */
export function encodeText(text: string, maxBytes: number): Uint8Array {
  const bytes = new Uint8Array(maxBytes);
  return bytes.subarray(0, new TextEncoder().encodeInto(text, bytes).written);
}

/** The text in these bytes up to the first NUL; what is no UTF-8 and what is unsafe to print becomes U+FFFD. */
export function decodeText(bytes: Uint8Array): string {
  const end = bytes.indexOf(0);
  return new TextDecoder().decode(end < 0 ? bytes : bytes.subarray(0, end)).replace(UNSAFE, "\ufffd");
}
