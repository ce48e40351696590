/** What links have to say, as events; what is not worth a line for people goes to the debug log (`DEBUG=rumpusb:*`). */
import createDebug from "debug";
import type { EmitEvent } from "../host/events.js";
import type { LinkLog } from "../pud/links/links.js";

export function linkLog(emit: EmitEvent): LinkLog {
  return {
    write: ({ level, source, message }) => {
      createDebug(`rumpusb:${source}`)(message);
      if (level === "warn" || level === "error") emit({ event: "log", level, source, message });
    },
  };
}
