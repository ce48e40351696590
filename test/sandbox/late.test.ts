/** The lock leaves what the runtime does late, or answers it with an error: it must not kill a healthy process. */
import { execFile } from "node:child_process";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { describe, expect, test } from "vitest";

const PROCESS = fileURLToPath(new URL("./late-process.mjs", import.meta.url));
const CRYPTO_PROCESS = fileURLToPath(new URL("./late-crypto-process.mjs", import.meta.url));

describe.each([
  ["standard", "device", []],
  ["strict", "device", ["--jitless"]],
  ["standard", "serve", []],
  ["strict", "serve", ["--jitless"]],
])("profile %s, locked for %s", (profile, purpose, flags) => {
  test("locale data, decoders, randomness and collection work in a locked process, code from strings does not", async () => {
    const { stdout } = await promisify(execFile)(process.execPath, [...flags, PROCESS, profile, purpose], { env: {} });
    expect(JSON.parse(stdout)).toEqual({
      evaluates: [],
      format: "1/1/1970",
      number: "1,234.5",
      order: -1,
      normalized: 1,
      utf16: "a",
      date: true,
      random: 8,
      garbage: 200,
    });
  });

  // On a machine without a vDSO lab/checks/sandbox.sh does the same.
  test("node:crypto works where it is used for the first time in a locked process", async () => {
    const { stdout } = await promisify(execFile)(process.execPath, [...flags, CRYPTO_PROCESS, profile, purpose], {
      env: {},
    });
    expect(JSON.parse(stdout)).toEqual({
      randomBytes: 16,
      randomBytesOnPool: 16,
      randomUUID: 36,
      randomInt: 1,
      getRandomValues: 8,
      sha256: "ba7816bf",
      hmac: 20,
      cipher: 3,
      scrypt: 16,
      pbkdf2OnPool: 16,
      ecdsa: true,
      rsaOnPool: "rsa",
      x25519: "x25519",
      algorithms: true,
      subtleDigest: 48,
      subtleKey: 16,
    });
  });
});
