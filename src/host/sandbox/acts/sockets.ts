/** Sockets and names, by Node's own means. */
import dgram from "node:dgram";
import dns from "node:dns/promises";
import { once } from "node:events";
import http from "node:http";
import net from "node:net";
import os from "node:os";
import { type Act, act } from "./act.js";

async function connect(options: net.NetConnectOpts): Promise<void> {
  const socket = net.connect(options);
  await once(socket, "connect");
  socket.destroy();
}

async function listen(options: net.ListenOptions): Promise<void> {
  const server = net.createServer();
  server.listen(options);
  await once(server, "listening");
  server.close();
}

export const SOCKET_ACTS: readonly Act[] = [
  act("sockets", "TCP, connect", async () => await connect({ host: "127.0.0.1", port: 1 })),
  act("sockets", "TCP, connect over IPv6", async () => await connect({ host: "::1", port: 1 })),
  act("sockets", "TCP, listen", async () => await listen({ host: "127.0.0.1", port: 0 })),
  act("sockets", "Unix, connect to the system bus", async () => await connect({ path: "/run/dbus/system_bus_socket" })),
  act("sockets", "Unix, connect to an abstract name", async () => await connect({ path: "\0rumpusb-act" })),
  act("sockets", "Unix, listen on a path", async () => await listen({ path: `/tmp/rumpusb-act-${process.pid}.sock` })),
  act(
    "sockets",
    "Unix, listen on an abstract name",
    async () => await listen({ path: `\0rumpusb-act-${process.pid}` }),
  ),
  act("sockets", "UDP, bind", async () => {
    const socket = dgram.createSocket("udp4");
    socket.bind(0, "127.0.0.1");
    await once(socket, "listening");
    socket.close();
  }),
  act("sockets", "UDP, send", async () => {
    const socket = dgram.createSocket("udp4");
    await new Promise<void>((resolve, reject) => {
      socket.once("error", reject);
      socket.send("x", 9, "127.0.0.1", (error) => (error === null ? resolve() : reject(error)));
    });
    socket.close();
  }),
  act("sockets", "DNS by libc", async () => await dns.lookup("example.invalid")),
  act("sockets", "DNS by c-ares", async () => await dns.resolve4("example.invalid")),
  act("sockets", "HTTP", async () => await once(http.get("http://127.0.0.1:1/"), "response")),
  act("sockets", "list network interfaces", () => {
    if (Object.keys(os.networkInterfaces()).length === 0) throw new Error("none are seen");
  }),
];
