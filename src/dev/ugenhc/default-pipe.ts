/**
 * The default pipe of the device: control requests one after another, passed on or translated.
 *
 * Translated requests are calls into the host OS that run beside the transfers; so that a request never overtakes
 * another (USB 2.0 §5.5.1: a message pipe takes the next setup when the last has ended), the next waits for the last.
 */
import type { Clock, UsbPort } from "../../rumpuser/rumpuser.js";
import { type SetupPacket, setupPacket } from "../usb/usb.js";
import type { HcCompletion } from "../usb/usbdivar.js";
import { STATUS_OF_RESULT, translate } from "./translate.js";

type Ended = (completion: HcCompletion) => void;

interface Request {
  readonly bytes: Uint8Array;
  readonly setup: SetupPacket;
  readonly data: Uint8Array;
  readonly ended: Ended;
  /** Set while the port has it. */
  cancel?: () => void;
}

export class DefaultPipe {
  readonly #port: UsbPort;
  readonly #clock: Clock;
  readonly #setAddress: (address: number) => void;
  readonly #waiting: Request[] = [];
  #running: Request | undefined;

  /** `setAddress` is told when the device is to answer at another address. */
  constructor(port: UsbPort, clock: Clock, setAddress: (address: number) => void) {
    this.#port = port;
    this.#clock = clock;
    this.#setAddress = setAddress;
  }

  /**
   * Queues a request; `ended` is called once and never synchronously.
   * @param bytes  The 8 setup bytes.
   * @param data   Exactly wLength bytes, lent until the end.
   * @returns asks for cancellation: of one that waits at once, of one at the port by the port. A call into the host OS
   *   cannot be taken back; the kernel ends it by its own deadlines.
   */
  submit(bytes: Uint8Array, data: Uint8Array, ended: Ended): () => void {
    const request: Request = { bytes, setup: setupPacket.decode(bytes), data, ended };
    if (this.#running === undefined) this.#start(request);
    else this.#waiting.push(request);
    return () => {
      const at = this.#waiting.indexOf(request);
      if (at < 0) {
        request.cancel?.();
        return;
      }
      this.#waiting.splice(at, 1);
      this.#clock.startTimer(0, () => ended({ status: "cancelled", actualBytes: 0 }));
    };
  }

  /** Forgets what waits, without ending it: the controller has. */
  abandon(): void {
    this.#waiting.length = 0;
  }

  #start(request: Request): void {
    this.#running = request;
    const end = (status: HcCompletion["status"]): void => this.#end(request, { status, actualBytes: 0 });
    const translation = translate(request.setup);
    switch (translation.kind) {
      case "pass":
        request.cancel = this.#port.submit(
          { type: "control", endpointAddress: 0, setup: request.bytes, data: request.data },
          (completion) => this.#end(request, completion),
        );
        break;
      case "stall":
        this.#clock.startTimer(0, () => end("stalled"));
        break;
      case "setAddress":
        this.#clock.startTimer(0, () => {
          this.#setAddress(translation.address);
          end("ok");
        });
        break;
      case "call":
        // A port that cannot even be asked has lost its device or is closing; that comes by its own way.
        void translation.run(this.#port).then(
          (result) => end(STATUS_OF_RESULT[result]),
          () => end("error"),
        );
        break;
    }
  }

  #end(request: Request, completion: HcCompletion): void {
    if (this.#running !== request) return; // a port that completes twice
    this.#running = undefined;
    delete request.cancel;
    const next = this.#waiting.shift();
    if (next !== undefined) this.#start(next);
    request.ended(completion);
  }
}
