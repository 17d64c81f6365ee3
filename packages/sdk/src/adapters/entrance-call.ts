import type { ServerResponse } from "node:http";
import type { Duplex } from "node:stream";
import type { Dispatcher } from "undici";

import { http } from "../env/node-http.ts";
import { cutAnswer } from "./cut-answer.ts";
import type { PipeSocket } from "./pipe-socket.ts";

type Fields = Record<string, string | string[]>;

/** Of the connection to the upstream, not of the answer. */
const hopByHop: ReadonlySet<string> = new Set([
  "connection",
  "keep-alive",
  "proxy-connection",
  "transfer-encoding",
  "upgrade",
]);

/** One request of `node:http` in the mesh: what undici's handlers are told, written down as an HTTP/1.1 answer. */
export class EntranceCall implements Dispatcher.DispatchHandler {
  readonly #response: ServerResponse;
  readonly #pipe: PipeSocket;
  readonly #head: Buffer | undefined;
  #controller: Dispatcher.DispatchController | undefined = undefined;
  #over = false;

  /** `head`: what came behind a request to switch protocols. */
  constructor(response: ServerResponse, pipe: PipeSocket, head: Buffer | undefined) {
    this.#response = response;
    this.#pipe = pipe;
    this.#head = head;
    response.sendDate = false;
    response.on("close", () => this.#left());
    response.on("drain", () => this.#controller?.resume());
    response.on("error", () => {});
  }

  onRequestStart(controller: Dispatcher.DispatchController): void {
    this.#controller = controller;
    if (this.#pipe.destroyed) this.#left();
  }

  onResponseStart(
    controller: Dispatcher.DispatchController,
    status: number,
    headers: Fields,
    statusText?: string,
  ): void {
    if (this.#over) return;
    const fields = answerFields(controller.rawHeaders, headers);
    if (status < 200) {
      if (!this.#response.headersSent) this.#pipe.write(headText(status, statusText, fields), "latin1");
      return;
    }
    if (statusText === undefined || statusText === "") this.#response.writeHead(status, fields);
    else this.#response.writeHead(status, statusText, fields);
    // A caller that waits for the head before it sends more must have it.
    this.#response.flushHeaders();
  }

  onResponseData(controller: Dispatcher.DispatchController, chunk: Buffer): void {
    if (!this.#over && !this.#response.write(chunk)) controller.pause();
  }

  onResponseEnd(_controller: Dispatcher.DispatchController, trailers: Fields): void {
    if (!this.#end()) return;
    try {
      for (const _ in trailers) {
        this.#response.addTrailers(trailers as never);
        break;
      }
      this.#response.end();
    } catch (thrown) {
      this.#fail(thrown as Error);
    }
  }

  /** The caller gets the mesh's own error: of its request, or as the cause of its answer's ({@link cutAnswer}). */
  onResponseError(_controller: Dispatcher.DispatchController | null, error: Error): void {
    if (this.#end()) this.#fail(error);
  }

  onRequestUpgrade(_controller: Dispatcher.DispatchController, status: number, headers: Fields, socket: Duplex): void {
    const pipe = this.#pipe;
    if (this.#over || pipe.destroyed) {
      socket.destroy();
      return;
    }
    this.#over = true;
    this.#response.detachSocket(pipe.socket);
    const fields = Object.entries(headers).flatMap(([name, value]) => [value].flat().flatMap((one) => [name, one]));
    pipe.write(headText(status, undefined, fields), "latin1");
    if (this.#head !== undefined && this.#head.length > 0) socket.write(this.#head);
    join(pipe, socket);
  }

  /** The caller has gone before its answer was complete, or has it all. */
  #left(): void {
    if (!this.#end()) return;
    this.#controller?.abort(new Error("the caller closed its connection"));
  }

  #fail(error: Error): void {
    cutAnswer(this.#pipe.other, error);
    this.#pipe.destroy();
  }

  #end(): boolean {
    if (this.#over) return false;
    this.#over = true;
    return true;
  }
}

/** Both ways, until both have said their last, or one is gone. */
function join(one: Duplex, other: Duplex): void {
  for (const [from, to] of [
    [one, other],
    [other, one],
  ] as const) {
    from.on("error", () => {});
    from.pipe(to);
    from.on("close", () => to.destroy());
  }
}

/** In the spelling and order of the server, where that is known. */
export function answerFields(raw: Dispatcher.DispatchController["rawHeaders"], headers: Fields): string[] {
  const fields: string[] = [];
  if (Array.isArray(raw)) {
    for (let i = 0; i + 1 < raw.length; i += 2) {
      const name = latin1(raw[i]!);
      if (!hopByHop.has(name.toLowerCase())) fields.push(name, latin1(raw[i + 1]!));
    }
    return fields;
  }
  for (const name in headers) {
    if (hopByHop.has(name)) continue;
    for (const value of [headers[name]!].flat()) fields.push(name, value);
  }
  return fields;
}

function latin1(text: string | Buffer): string {
  return typeof text === "string" ? text : text.toString("latin1");
}

function headText(status: number, statusText: string | undefined, fields: readonly string[]): string {
  let head = `HTTP/1.1 ${status} ${statusText || (http.STATUS_CODES[status] ?? "")}\r\n`;
  for (let i = 0; i < fields.length; i += 2) head += `${fields[i]!}: ${fields[i + 1]!}\r\n`;
  return `${head}\r\n`;
}
