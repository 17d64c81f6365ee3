import type { Flow, HeaderList, MeshError, ResponseHead, Sink } from "@trama/engine";

/** Where an answer ends in a test: keeps every event, and every breach of law 2. */
export class TestSink implements Sink {
  readonly events: ("head" | "data" | "end" | "error")[] = [];
  readonly breaches: string[] = [];
  head: ResponseHead | undefined = undefined;
  flow: Flow | undefined = undefined;
  error: MeshError | undefined = undefined;
  trailers: HeaderList | undefined = undefined;
  bytes = 0;
  text = "";
  readonly #watch: ((event: "head" | "data" | "end" | "error") => void) | undefined;
  #settle: (() => void) | undefined = undefined;
  /** Resolves with the last event; for services that answer later. Never rejects. */
  readonly done: Promise<void> = new Promise((resolve) => (this.#settle = resolve));

  constructor(watch?: (event: "head" | "data" | "end" | "error") => void) {
    this.#watch = watch;
  }

  get over(): boolean {
    return this.events.includes("end") || this.events.includes("error");
  }

  get status(): number | undefined {
    return this.head?.status;
  }

  onHead(head: ResponseHead, flow: Flow): void {
    if (this.head !== undefined) this.breaches.push("a second head");
    this.#note("head");
    this.head = head;
    this.flow = flow;
    this.#watch?.("head");
  }

  onData(chunk: Uint8Array): void {
    if (this.head === undefined) this.breaches.push("data before the head");
    this.#note("data");
    this.bytes += chunk.byteLength;
    // Big answers are counted, not kept.
    if (this.bytes <= 1_048_576) this.text += Buffer.from(chunk).toString("latin1");
    this.#watch?.("data");
  }

  onEnd(trailers: HeaderList | undefined): void {
    if (this.head === undefined) this.breaches.push("an end without a head");
    this.#note("end");
    this.trailers = trailers;
    this.#settle?.();
    this.#watch?.("end");
  }

  onError(error: MeshError): void {
    this.#note("error");
    this.error = error;
    this.#settle?.();
    this.#watch?.("error");
  }

  #note(event: "head" | "data" | "end" | "error"): void {
    if (this.over) this.breaches.push(`${event} after the last event`);
    this.events.push(event);
  }
}
