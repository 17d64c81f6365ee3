import type { experimental } from "@grpc/grpc-js";
import type { CallRecord, CopyBudget } from "@trama/engine";

import { type BodyWriter, type KeepAlive, StreamBody } from "../transport/stream-body.ts";
import type { packerOf } from "../transport/grpc-compression.ts";
import { frameMessage } from "@trama/xds";

/** What is kept of a call for a retry; a larger one is sent once. gRPC: `grpc.per_rpc_retry_buffer_size`. */
const replayBytes = 1024 * 1024;
/** grpc-js's write flag: do not compress this message. */
const noCompress = 2;

type Packer = ReturnType<typeof packerOf>;
type InnerCall = Pick<experimental.CallStream, "sendMessageWithContext" | "halfClose">;

interface Entry {
  readonly message: Buffer;
  readonly flags: number;
  /** Asked to be told when the message has left; once, however often it is sent. */
  done: ((error?: Error | null) => void) | undefined;
  /** As they go out; absent while they are being compressed, or before. */
  wire: Buffer[] | undefined;
}

/**
 * The messages of a call on their way out. They are kept until the server has answered, for a retry sends them once more, but no more
 * than a megabyte: past that the call has one attempt.
 */
export class OutboundMessages extends StreamBody {
  readonly authority: string;
  readonly wireAuthority: string;
  readonly keepAlive: KeepAlive | undefined;
  readonly #packer: Packer;
  readonly #entries: Entry[] = [];
  /** The entry that the writer gets next. */
  #next = 0;
  #bytes = 0;
  #keeping = true;
  #dropped = false;
  #ended = false;
  #packing = false;
  #writer: BodyWriter | undefined = undefined;
  #outside: InnerCall | undefined = undefined;
  #count = 0;
  #record: Pick<CallRecord, "requestMessages"> | undefined = undefined;
  #copies: { readonly body: OutboundMessages; readonly budget: CopyBudget }[] | undefined = undefined;

  constructor(authority: string, wireAuthority: string, keepAlive: KeepAlive | undefined, packer: Packer) {
    super();
    this.authority = authority;
    this.wireAuthority = wireAuthority;
    this.keepAlive = keepAlive;
    this.#packer = packer;
  }

  canReplay(): boolean {
    return !this.#dropped;
  }

  isOpen(): boolean {
    // While one is being compressed, its first writer still waits for it.
    return !this.#ended || this.#packing;
  }

  moved(): number {
    return this.#count;
  }

  add(message: Buffer, flags: number, done: Entry["done"]): void {
    this.#count++;
    if (this.#record !== undefined) this.#record.requestMessages = this.#count;
    if (this.#outside !== undefined) {
      this.#outside.sendMessageWithContext(context(flags, done), message);
      return;
    }
    for (const copy of this.#copies ?? []) addCopy(copy, message, flags);
    this.#entries.push({ message, flags, done, wire: undefined });
    this.#bytes += message.length;
    if (this.#bytes > replayBytes) this.#letGo();
    this.#pump();
  }

  countAt(record: CallRecord): void {
    this.#record = record;
    record.requestMessages = this.#count;
  }

  halfClose(): void {
    this.#ended = true;
    for (const { body } of this.#copies ?? []) body.halfClose();
    if (this.#outside !== undefined) this.#outside.halfClose();
    else this.#pump();
  }

  /** It gets each message when the application has written it, and what its own peer does not take in time is its loss. */
  copy(budget: CopyBudget): OutboundMessages | undefined {
    if (this.#dropped) return undefined;
    const body = new OutboundMessages(this.authority, this.wireAuthority, undefined, this.#packer);
    // Sent once only.
    body.commit();
    const copy = { body, budget };
    for (const { message, flags } of this.#entries) addCopy(copy, message, flags);
    if (this.#ended) body.halfClose();
    (this.#copies ??= []).push(copy);
    return body;
  }

  attach(writer: BodyWriter): void {
    this.#writer = writer;
    this.#next = 0;
    this.#pump();
  }

  detach(writer: BodyWriter): void {
    if (this.#writer === writer) this.#writer = undefined;
  }

  /** The call goes past the mesh: everything is another's from here on. */
  passTo(outside: InnerCall): void {
    this.#outside = outside;
    for (const { message, flags, done } of this.#entries.splice(0))
      outside.sendMessageWithContext(context(flags, done), message);
    if (this.#ended) outside.halfClose();
  }

  /** The server has answered: there is no retry any more. */
  commit(): void {
    this.#letGo();
  }

  /** The call is over: whoever waits to send more must not wait for ever. */
  close(): void {
    this.#writer = undefined;
    if (!this.#ended) for (const { budget } of this.#copies ?? []) budget.lost();
    for (const entry of this.#entries.splice(0)) tell(entry);
    this.#next = 0;
  }

  #letGo(): void {
    this.#keeping = false;
    if (this.#next === 0) return;
    this.#dropped = true;
    this.#entries.splice(0, this.#next);
    this.#next = 0;
  }

  #pump(): void {
    const writer = this.#writer;
    if (writer === undefined || this.#packing) return;
    while (this.#next < this.#entries.length) {
      const entry = this.#entries[this.#next]!;
      if (entry.wire === undefined && this.#pack(entry)) return;
      this.#next++;
      const buffers = entry.wire!;
      if (!this.#keeping) this.#letGo();
      const last = buffers.length - 1;
      if (last > 0) writer.write(buffers[0]!);
      if (entry.done === undefined) writer.write(buffers[last]!);
      else writer.write(buffers[last]!, () => tell(entry));
    }
    if (this.#ended) writer.end();
  }

  /** True when it takes a while. */
  #pack(entry: Entry): boolean {
    const { message, flags } = entry;
    if (this.#packer === undefined || (flags & noCompress) !== 0 || message.length === 0) {
      entry.wire = frameMessage(message, false);
      return false;
    }
    this.#packing = true;
    this.#packer.pack(message, (error, packed) => {
      this.#packing = false;
      entry.wire = error === null ? frameMessage(packed, true) : frameMessage(message, false);
      this.#pump();
    });
    return true;
  }
}

function addCopy(
  { body, budget }: { readonly body: OutboundMessages; readonly budget: CopyBudget },
  message: Buffer,
  flags: number,
): void {
  if (budget.take(message.length)) body.add(message, flags, () => budget.give(message.length));
  else budget.lost();
}

function tell(entry: Entry): void {
  const { done } = entry;
  entry.done = undefined;
  done?.();
}

function context(flags: number, done: Entry["done"]): { flags: number; callback?: (error?: Error | null) => void } {
  return done === undefined ? { flags } : { flags, callback: done };
}
