/** A serial line that is opened with a bound on how late received bytes may be. */
import { DeviceError, type Tty, type TtyPort } from "../rump/devsw.js";

/** Of every open, in milliseconds. Where nothing can be bounded the line is opened as it is. */
export function ttyWithLatency(tty: Tty, latencyMs: number): Tty {
  return {
    kind: "tty",
    info: tty.info,
    open: async (how, receiver, options) => {
      const port = await tty.open(how, receiver, options);
      try {
        await port.setLatency(latencyMs, options);
      } catch (error) {
        if (!isUnsupported(error)) await failed(port, error);
      }
      return port;
    },
  };
}

function isUnsupported(error: unknown): boolean {
  return error instanceof DeviceError && error.code === "EOPNOTSUPP";
}

async function failed(port: TtyPort, error: unknown): Promise<never> {
  await port.close();
  throw error;
}
