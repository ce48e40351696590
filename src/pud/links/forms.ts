/** How each kind of link is written on the command line: for help, and for what is said of a text that is none. */

export const LINK_FORMS = {
  nbd: `nbd, ${addressForms("nbd")}, nbd=/dev/nbdN`,
  pty: "pty, pty=/PATH, pty=7E, pty=/PATH,7E",
  rfc2217: `rfc2217, ${addressForms("rfc2217")}`,
  raw: `raw, ${addressForms("raw")}, each with ,baud=N ,data=8 ,parity=none ,stop=1 ,flow=none`,
  "tty-cuse": "tty-cuse, tty-cuse=NAME",
} as const;

/** `NAME=unix:/PATH`, `NAME=tcp:PORT` … (address.ts) */
function addressForms(name: string): string {
  return ["unix:/PATH", "tcp:PORT", "127.0.0.1:PORT", "[::1]:PORT"].map((form) => `${name}=${form}`).join(", ");
}
