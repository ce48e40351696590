/**
 * Reads the first bytes of an NBD export, 64 KiB at a time: node nbd-read.mjs SOCKET EXPORT BYTES. For guests without libnbd.
 * NBD protocol: "Fixed newstyle negotiation", NBD_OPT_EXPORT_NAME; simple replies.
 */
import net from "node:net";

const [, , path, name, bytes] = process.argv;
const STEP = 65_536;
const socket = net.connect(path);
let buffered = Buffer.alloc(0);
let wake = () => {};
socket.on("data", (chunk) => {
  buffered = Buffer.concat([buffered, chunk]);
  wake();
});
socket.on("close", () => process.exit(1));

async function take(count) {
  while (buffered.length < count) await new Promise((resolve) => (wake = resolve));
  const taken = buffered.subarray(0, count);
  buffered = buffered.subarray(count);
  return taken;
}

await take(18); // NBDMAGIC, IHAVEOPT, handshake flags
const option = Buffer.alloc(20);
option.writeUInt32BE(3, 0); // fixed newstyle, no zeroes
option.write("IHAVEOPT", 4, "latin1");
option.writeUInt32BE(1, 12); // NBD_OPT_EXPORT_NAME
option.writeUInt32BE(name.length, 16);
socket.write(Buffer.concat([option, Buffer.from(name)]));
await take(10); // size, transmission flags
for (let at = 0; at < Number(bytes); at += STEP) {
  const request = Buffer.alloc(28);
  request.writeUInt32BE(0x25609513, 0);
  request.writeBigUInt64BE(BigInt(at), 16);
  request.writeUInt32BE(STEP, 24);
  socket.write(request);
  const reply = await take(16);
  if (reply.readUInt32BE(4) !== 0) throw new Error(`error ${reply.readUInt32BE(4)} at byte ${at}`);
  await take(STEP);
}
process.exit(0);
