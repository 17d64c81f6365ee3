import type { ServerHttp2Stream } from "node:http2";

/** Whatever serves a stream of a server. */
export interface StreamOwner {
  /** The stream is gone. */
  closed(): void;
}

/**
 * The owner of a stream, until that has closed. Node lets go of a closed stream only some time later, and all that it refers to would
 * outlive the young collections with it. So listeners are functions that all streams share, and find the owner here.
 */
const owner = Symbol("trama.owner");
type Owned = ServerHttp2Stream & { [owner]?: StreamOwner | undefined };

/** From here on the owner is told of the stream's end; an error of it is none of the process's. */
export function own(stream: ServerHttp2Stream, by: StreamOwner): void {
  (stream as Owned)[owner] = by;
  // Without a listener an error would end the process; `close` follows it and says what it means.
  stream.on("error", ignore);
  stream.on("close", closed);
}

/** A listener for all streams whose owner is of one kind; one that has closed has none. */
export function ownerListener<O extends StreamOwner, A extends unknown[]>(
  run: (owner: O, ...values: A) => void,
): (this: ServerHttp2Stream, ...values: A) => void {
  return function (this: Owned, ...values) {
    const by = this[owner];
    if (by !== undefined) run(by as O, ...values);
  };
}

function ignore(): void {}

function closed(this: Owned): void {
  const by = this[owner];
  this[owner] = undefined;
  by?.closed();
}
