import type { Dispatcher } from "undici";

import { Dispatcher1Wrapper } from "../undici-parts.ts";

type Fetch = typeof globalThis.fetch;

/** Node's `fetch`, whose requests go to this dispatcher. */
export function meshFetch(dispatcher: Dispatcher): Fetch {
  let wrapper: object | undefined;
  return (input, init) => {
    // Node's own fetch speaks an older dispatcher interface.
    wrapper ??= new Dispatcher1Wrapper(dispatcher);
    const body: unknown = init?.body;
    return globalThis.fetch(input, {
      ...init,
      ...(comesInPieces(body) ? { body: ReadableStream.from(body) } : {}),
      dispatcher: wrapper as never,
    });
  };
}

/**
 * A stream of Node's, or a generator. Node's fetch (24.21) makes a web stream of it itself, and keeps a copy of every piece until the end: an
 * upload of a gigabyte takes one. From a web stream that comes ready it keeps nothing.
 */
function comesInPieces(body: unknown): body is AsyncIterable<Uint8Array> {
  return typeof body === "object" && body !== null && Symbol.asyncIterator in body && !(body instanceof ReadableStream);
}
