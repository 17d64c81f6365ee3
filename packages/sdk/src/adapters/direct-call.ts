import type { Dispatcher } from "undici";

import { http } from "../env/node-http.ts";
import { cutAnswer } from "./cut-answer.ts";
import { answerFields } from "./entrance-call.ts";
import type { PipeSocket } from "./pipe-socket.ts";

type Fields = Record<string, string | string[]>;

/** Of no use to a parser, and the way to smuggle an answer. */
const unwritable = /[^\t\x20-\x7e\x80-\xff]/;
const notWritable = "a field of the answer has characters that HTTP does not allow";

/**
 * One request of `node:http` that came in one piece ({@link wholeRequest}): its answer is written to the client's end as it comes, for Node's own
 * parser to read, in the form in which Node's own server would have written it.
 */
export class DirectCall implements Dispatcher.DispatchHandler {
  readonly #client: PipeSocket;
  /** The answer to HEAD says how long a body would be, and has none. */
  readonly #bodiless: boolean;
  #controller: Dispatcher.DispatchController | undefined = undefined;
  #chunked = false;
  /** Bytes of the body still to come, where the head said how many; the client knows the end by that. */
  #left = Infinity;
  /** The client has had the whole of it, or its connection is gone. */
  over = false;

  constructor(client: PipeSocket, method: string) {
    this.#client = client;
    this.#bodiless = method === "HEAD";
  }

  onRequestStart(controller: Dispatcher.DispatchController): void {
    this.#controller = controller;
    if (this.over) this.#abort();
  }

  onResponseStart(
    controller: Dispatcher.DispatchController,
    status: number,
    headers: Fields,
    statusText?: string,
  ): void {
    if (this.over) return;
    const fields = answerFields(controller.rawHeaders, headers);
    const reason = statusText || (http.STATUS_CODES[status] ?? "");
    // All at once: a tab is fit to be written.
    if (unwritable.test(reason) || unwritable.test(fields.join("\t"))) throw new TypeError(notWritable);
    let head = `HTTP/1.1 ${status} ${reason}\r\n`;
    let length: string | undefined;
    let lengths = 0;
    for (let i = 0; i < fields.length; i += 2) {
      const name = fields[i]!;
      const value = fields[i + 1]!;
      head += `${name}: ${value}\r\n`;
      if (name.length !== 14 || name.toLowerCase() !== "content-length") continue;
      length = value;
      lengths++;
    }
    if (status < 200) {
      this.#client.deliver(Buffer.from(`${head}\r\n`, "latin1"));
      return;
    }
    head += "Connection: keep-alive\r\n";
    if (this.#bodiless || status === 204 || status === 304) this.#left = 0;
    else if (length === undefined) {
      this.#chunked = true;
      head += "Transfer-Encoding: chunked\r\n";
    } else if (lengths === 1 && /^\d+$/.test(length)) this.#left = Number(length);
    // The client may go on with its next request before this returns.
    if (this.#left === 0) this.over = true;
    this.#client.deliver(Buffer.from(`${head}\r\n`, "latin1"));
  }

  onResponseData(controller: Dispatcher.DispatchController, chunk: Buffer): void {
    if (this.over || chunk.length === 0) return;
    if (chunk.length > this.#left) {
      // It would be read as the next answer.
      this.#fail(new Error("the answer is longer than its head said"));
      controller.abort(new Error("the answer is longer than its head said"));
      return;
    }
    this.#left -= chunk.length;
    if (this.#left === 0) this.over = true;
    let more: boolean;
    if (this.#chunked) {
      this.#client.deliver(Buffer.from(`${chunk.length.toString(16)}\r\n`, "latin1"));
      this.#client.deliver(chunk);
      more = this.#client.deliver(lineEnd());
    } else more = this.#client.deliver(chunk);
    if (!more && !this.over) controller.pause();
  }

  onResponseEnd(_controller: Dispatcher.DispatchController, trailers: Fields): void {
    if (this.over) return;
    if (this.#left !== Infinity) {
      this.#fail(new Error("the answer is shorter than its head said"));
      return;
    }
    if (!this.#chunked) {
      this.over = true;
      return;
    }
    let end = "0\r\n";
    for (const name in trailers)
      for (const value of [trailers[name]!].flat()) {
        if (unwritable.test(name) || unwritable.test(value)) {
          this.#fail(new TypeError(notWritable));
          return;
        }
        end += `${name}: ${value}\r\n`;
      }
    this.over = true;
    this.#client.deliver(Buffer.from(`${end}\r\n`, "latin1"));
  }

  /** The caller gets the mesh's own error: of its request, or as the cause of its answer's ({@link cutAnswer}). */
  onResponseError(_controller: Dispatcher.DispatchController | null, error: Error): void {
    if (!this.over) this.#fail(error);
  }

  /** The client has read what it was given. */
  wanted(): void {
    if (!this.over) this.#controller?.resume();
  }

  /** The client has left before it had its answer. */
  gone(): void {
    if (this.over) return;
    this.over = true;
    this.#abort();
  }

  #fail(error: Error): void {
    this.over = true;
    cutAnswer(this.#client, error);
  }

  #abort(): void {
    this.#controller?.abort(new Error("the caller closed its connection"));
  }
}

/** A buffer of its own each time: who reads may keep and change it. */
function lineEnd(): Buffer {
  return Buffer.from("\r\n", "latin1");
}
