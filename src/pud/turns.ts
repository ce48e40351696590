/**
 * Requests that wait, by whose they are. Clients take turns by the bytes that were taken for them: one that asks for much
 * waits behind one that asks for little, and one that was away has no claim on what it missed.
 *
 * Fair queueing by virtual time (Demers, Keshav and Shenker, SIGCOMM 1989): the request goes first that would be done first
 * if all clients were served at once. The clock is that of start-time fair queueing (Goyal, Vin and Cheng, SIGCOMM 1996).
 */

/** What a request counts at least: a small one costs a command as well. */
const MIN_COST_BYTES = 16 * 1024;

export interface Waiting {
  readonly client: object;
  readonly bytes: number;
}

/** What waits for one client, in its order. */
interface Lane<T> {
  readonly requests: T[];
  /** Virtual time at which its next request begins. */
  startBytes: number;
}

export class Turns<T extends Waiting> {
  readonly #lanes = new WeakMap<object, Lane<T>>();
  /** Those in which something waits. */
  #busy: Lane<T>[] = [];
  /** Virtual time: when what was taken last began. A client that comes now begins there. */
  #nowBytes = 0;
  #size = 0;

  get size(): number {
    return this.#size;
  }

  push(request: T): void {
    const lane = this.#laneOf(request.client);
    if (lane.requests.push(request) === 1) {
      lane.startBytes = Math.max(lane.startBytes, this.#nowBytes);
      this.#busy.push(lane);
    }
    this.#size++;
  }

  /** Whose turn it is; undefined when nothing waits. */
  first(): T | undefined {
    return this.#next()?.requests[0];
  }

  /** Takes what `first` says. */
  shift(): T | undefined {
    const lane = this.#next();
    const request = lane?.requests.shift();
    if (lane === undefined || request === undefined) return undefined;
    this.#nowBytes = Math.max(this.#nowBytes, lane.startBytes);
    lane.startBytes += costBytes(request);
    this.#left(lane);
    return request;
  }

  /** Takes one that is not to be done; does nothing when it does not wait. */
  remove(request: T): void {
    const lane = this.#laneOf(request.client);
    const index = lane.requests.indexOf(request);
    if (index < 0) return;
    lane.requests.splice(index, 1);
    this.#left(lane);
  }

  /** All that waits, each client's in its order. */
  all(): T[] {
    return this.#busy.flatMap((lane) => lane.requests);
  }

  takeAll(): T[] {
    const taken = this.all();
    for (const lane of this.#busy.splice(0)) lane.requests.length = 0;
    this.#size = 0;
    return taken;
  }

  #laneOf(client: object): Lane<T> {
    let lane = this.#lanes.get(client);
    if (lane === undefined) this.#lanes.set(client, (lane = { requests: [], startBytes: 0 }));
    return lane;
  }

  #left(lane: Lane<T>): void {
    this.#size--;
    if (lane.requests.length === 0) this.#busy = this.#busy.filter((other) => other !== lane);
  }

  #next(): Lane<T> | undefined {
    if (this.#busy.length <= 1) return this.#busy[0];
    let next: Lane<T> | undefined;
    let nextEndBytes = Number.POSITIVE_INFINITY;
    for (const lane of this.#busy) {
      const [request] = lane.requests;
      const endBytes = lane.startBytes + (request === undefined ? 0 : costBytes(request));
      if (endBytes >= nextEndBytes) continue;
      next = lane;
      nextEndBytes = endBytes;
    }
    return next;
  }
}

function costBytes({ bytes }: Waiting): number {
  return Math.max(MIN_COST_BYTES, bytes);
}
