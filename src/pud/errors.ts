/**
 * What can go wrong with the channel itself. Whoever catches one of these drops the peer: a channel that has spoken
 * nonsense once is not listened to again.
 */

export type LinkErrorCode =
  | "PUD_CLOSED" // the other process ended the stream
  | "PUD_SILENT" // it has answered neither requests nor a PING
  | "PUD_MAGIC" // not a frame
  | "PUD_VERSION" // a frame of another protocol version
  | "PUD_KIND" // no such kind, or not one that this side sends
  | "PUD_LENGTH" // a payload outside the bounds of its kind
  | "PUD_ORDER" // a kind that cannot come now: nothing before HELLO, no second HELLO, SHUTDOWN_DONE unasked
  | "PUD_REPLY" // answers what was never asked, twice, for another node, or with an unknown status
  | "PUD_NODE" // a node number that is in use, or is not
  | "PUD_GEOMETRY" // a disk that cannot be
  | "PUD_LINE" // a serial line that cannot be, or settings or counters of one
  | "PUD_NAME" // a class or driver name that could not be part of a node name
  | "PUD_LIMIT" // more nodes than a rump process may have
  | "PUD_ABSENT" // the device is explored, and no node that was there before has come back
  | "PUD_FLOOD"; // more announcements a second than anyone needs, or more received bytes than were granted

/** The other process went away or spoke nonsense. */
export class LinkError extends Error {
  readonly code: LinkErrorCode;

  constructor(code: LinkErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = "LinkError";
    this.code = code;
  }
}
