/**
 * Locks itself, then uses node:crypto for the first time. Prints what came of each way as one line of JSON; ends with status 1 where one
 * failed. argv: profile, purpose.
 */
import { writeSync } from "node:fs";
import { createRequire } from "node:module";
import { lockProcess } from "../../dist/rumpuser/real/lock.js";

await lockProcess({ purpose: process.argv[3], profile: process.argv[2], deviceFd: 5, passFd: 4 });
const { webcrypto, ...crypto } = createRequire(import.meta.url)("node:crypto");
const { promisify } = await import("node:util");
const { subtle } = webcrypto;
const ways = {
  randomBytes: () => crypto.randomBytes(16).length,
  randomBytesOnPool: async () => (await promisify(crypto.randomBytes)(16)).length,
  randomUUID: () => crypto.randomUUID().length,
  randomInt: () => crypto.randomInt(1, 2),
  getRandomValues: () => webcrypto.getRandomValues(new Uint8Array(8)).length,
  sha256: () => crypto.createHash("sha256").update("abc").digest("hex").slice(0, 8),
  hmac: () => crypto.createHmac("sha1", "key").update("abc").digest().length,
  cipher: () => crypto.createCipheriv("aes-256-gcm", Buffer.alloc(32), Buffer.alloc(12)).update("abc").length,
  scrypt: () => crypto.scryptSync("a", "b", 16, { N: 16 }).length,
  pbkdf2OnPool: async () => (await promisify(crypto.pbkdf2)("a", "b", 2, 16, "sha512")).length,
  ecdsa: () => {
    const { privateKey, publicKey } = crypto.generateKeyPairSync("ec", { namedCurve: "P-256" });
    return crypto.verify("sha256", Buffer.from("a"), publicKey, crypto.sign("sha256", Buffer.from("a"), privateKey));
  },
  rsaOnPool: async () =>
    (await promisify(crypto.generateKeyPair)("rsa", { modulusLength: 1024 })).privateKey.asymmetricKeyType,
  x25519: () => crypto.generateKeyPairSync("x25519").publicKey.asymmetricKeyType,
  algorithms: () => crypto.getHashes().length > 10,
  subtleDigest: async () => (await subtle.digest("SHA-384", new Uint8Array(3))).byteLength,
  subtleKey: async () =>
    (await subtle.exportKey("raw", await subtle.generateKey({ name: "AES-GCM", length: 128 }, true, ["encrypt"])))
      .byteLength,
};
const results = {};
let status = 0;
for (const [name, way] of Object.entries(ways)) {
  try {
    results[name] = await way();
  } catch (error) {
    results[name] = `${error.code ?? ""} ${error.message}`;
    status = 1;
  }
}
writeSync(1, `${JSON.stringify(results)}\n`);
process.exit(status);
