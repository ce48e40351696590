import { rfc2217Tty } from "../../../../src/pud/links/rfc2217/client.js";
import { DeviceError } from "../../../../src/rump/devsw.js";
import { ttyContract } from "../../../contract/tty.js";
import { MemoryTty } from "../../../fakes/memory-tty.js";
import { serveOnTcp } from "../serial/rig.js";

// Without `hold`: what a socket has taken nobody can take back, and RFC 2217 does not say what the line has taken.
ttyContract("rfc2217, client and link", async () => {
  const tty = new MemoryTty();
  tty.loopback = true;
  const rig = await serveOnTcp("rfc2217=tcp:0", tty);
  return {
    tty: rfc2217Tty({ host: "127.0.0.1", port: rig.port }, "far line"),
    step: () => new Promise((resolve) => setTimeout(resolve, 1)),
    unplug: () => {
      tty.leave(new DeviceError("ENODEV", "unplugged"));
      void rig.node.remove("unplugged");
    },
    close: () => rig.link.close(),
  };
});
