import type { Clock, Logger, Sliced, Timer } from "@trama/engine";

import { textOf } from "./errors.ts";
import type { KeptResource } from "./last-good-format.ts";
import { ResourceError } from "./resources/error.ts";
import type { DecodeOptions, Decoded, ResourceType } from "./resources/type.ts";
import type { ResourceState, ResourceStatus, ResourceTypeName } from "./status.ts";
import type { Fault, RawResource } from "./stream/session.ts";

/** One resource that is asked for, and what is known of it. */
export interface Entry<T> {
  readonly state: ResourceState;
  /** In use. A refused or removed resource may still have one: the last good stays. */
  readonly value: T | undefined;
  /** Of the accepted version that the server still has; empty when there is none. */
  readonly version: string;
  readonly failed: ResourceStatus["failed"];
}

interface OwnEntry<T> extends Entry<T> {
  state: ResourceState;
  value: T | undefined;
  version: string;
  failed: ResourceStatus["failed"];
  /** What `value` was decoded from: the same bytes again are the same object (R14). */
  bytes: Uint8Array | undefined;
  expiry: Timer | undefined;
  /** Of a restored one: until when it was known to be in force, by the wall clock. */
  knownMs: number;
  /** The server whose version it is: another one's versions mean something else (R4). */
  source: string;
}

export interface TableOptions<T> {
  readonly name: ResourceTypeName;
  readonly type: ResourceType<T>;
  readonly decode: DecodeOptions;
  readonly clock: Clock;
  readonly log: Logger;
  /**
   * What a removal does to the value in use. `keep`: it stays in service for as long as something refers to it, as all data
   * errors are taken for passing ones (R16), and a server may remove a cluster before the route (R27). `drop`: it is gone.
   */
  readonly onRemoval: "keep" | "drop";
  /** `fail_on_data_errors`: what is refused takes the last good version with it (R16). */
  readonly dropRefused: boolean;
  /** A further check of a decoded value against the name that was asked for; throws ResourceError. */
  readonly check?: ((name: string, value: T) => void) | undefined;
  /** A time to live ran out: the resource counts as removed (R21). */
  readonly onExpired: (name: string) => void;
}

/** From this size on a resource is decoded ahead: some hundred endpoints. */
const largeBytes = 32_768;

/** The resources of one type, by the names that are wanted: no others are held (R8). */
export class ResourceTable<T> {
  readonly typeUrl: string;
  readonly #options: TableOptions<T>;
  readonly #entries = new Map<string, OwnEntry<T>>();
  /** What was decoded before its turn, or why it could not be, by its bytes. */
  readonly #ahead = new WeakMap<Uint8Array, Decoded<T> | ResourceError>();
  #names: ReadonlySet<string> | undefined = undefined;
  #changes = 0;

  constructor(options: TableOptions<T>) {
    this.#options = options;
    this.typeUrl = options.type.typeUrl;
  }

  get name(): ResourceTypeName {
    return this.#options.name;
  }

  get(name: string): Entry<T> | undefined {
    return this.#entries.get(name);
  }

  /** Grows whenever a value that is held changed: what is kept on disk is then out of date. */
  get changes(): number {
    return this.#changes;
  }

  /** The names wanted now; the very same set until others are. */
  get names(): ReadonlySet<string> {
    return (this.#names ??= new Set(this.#entries.keys()));
  }

  /** From now on this name is wanted. Idempotent. */
  want(name: string): void {
    if (this.#entries.has(name)) return;
    this.#names = undefined;
    this.#entries.set(name, newEntry());
  }

  /** Not any more; what is known of it is forgotten. Idempotent. */
  unwant(name: string): void {
    this.#entries.get(name)?.expiry?.cancel();
    if (this.#entries.delete(name)) this.#names = undefined;
  }

  /** Accepted versions of this server's, for the first request of a stream (R22). A removed resource has none: it may come back as it was (R13). */
  versions(source: string): Record<string, string> {
    const found: Record<string, string> = Object.create(null) as Record<string, string>;
    for (const [name, entry] of this.#entries)
      if (entry.version !== "" && entry.source === source) found[name] = entry.version;
    return found;
  }

  /**
   * Decodes a large resource ahead of {@link put}, in slices: yields now and then, so that others may run in between. `undefined`: there
   * is no need to.
   */
  ahead({ name, body }: RawResource): Sliced<void> | undefined {
    const { type } = this.#options;
    const large = body !== undefined && body.value.byteLength >= largeBytes && body.typeUrl === this.typeUrl;
    if (!large || type.slices === undefined || !this.#entries.has(name)) return undefined;
    return this.#slices(name, body.value);
  }

  *#slices(name: string, bytes: Uint8Array): Sliced<void> {
    const { type, decode } = this.#options;
    try {
      const before = this.#entries.get(name)?.value;
      this.#ahead.set(bytes, yield* type.slices!(bytes, decode, before));
    } catch (error) {
      // Whoever puts it in meets this. An error of the decoder's own it meets once more.
      if (error instanceof ResourceError) this.#ahead.set(bytes, error);
    }
  }

  /** Takes one resource of a response; a fault is a line of the NACK. */
  put(raw: RawResource, source: string): Fault | undefined {
    const entry = this.#entries.get(raw.name);
    if (entry === undefined) return undefined; // nobody asked (R8), not even a fault in it counts
    this.#expire(raw, entry);
    if (raw.body === undefined) return undefined; // a heartbeat
    try {
      if (raw.body.typeUrl !== this.typeUrl)
        throw new ResourceError(`it is a ${raw.body.typeUrl || "resource without type"}`);
      this.#accept(entry, raw.name, raw.body.value);
      entry.state = "ACKED";
      entry.version = raw.version;
      entry.source = source;
      entry.failed = undefined;
      return undefined;
    } catch (error) {
      const message = textOf(error);
      if (!(error instanceof ResourceError)) {
        this.#options.log.error("a decoder failed with an error of its own", { name: raw.name, error });
      }
      // The last good version stays in use (R6); the state says that a newer one was refused (R11).
      entry.state = "NACKED";
      entry.failed = { version: raw.version, message };
      if (this.#options.dropRefused) forget(entry);
      this.#options.log.warn(`refused ${this.#options.name} ${raw.name}: ${message}`, { version: raw.version });
      return { name: raw.name, message };
    }
  }

  /** The server says that it has no such resource. */
  remove(name: string, ignoreDeletion: boolean): void {
    const entry = this.#entries.get(name);
    if (entry === undefined) return;
    entry.expiry?.cancel();
    entry.expiry = undefined;
    const inUse = entry.value !== undefined;
    if (inUse && (ignoreDeletion || this.#options.onRemoval === "keep") && entry.state !== "DOES_NOT_EXIST") {
      this.#options.log.warn(
        `${this.#options.name} ${name} was removed by the control plane; it stays in use while it is needed`,
      );
    }
    entry.failed = undefined;
    entry.version = "";
    if (inUse && ignoreDeletion) return; // R15
    if (inUse && entry.state !== "DOES_NOT_EXIST") this.#changes += 1;
    entry.state = "DOES_NOT_EXIST";
    if (this.#options.onRemoval === "drop") forget(entry);
  }

  /** True if that settled something: a name that was never answered counts as missing (R10); a refused one does not (R11). */
  unanswered(name: string): boolean {
    const entry = this.#entries.get(name);
    if (entry?.state !== "REQUESTED") return false;
    entry.state = "DOES_NOT_EXIST";
    return true;
  }

  /** Something is wanted of which nothing is known yet. */
  get needy(): boolean {
    for (const { state } of this.#entries.values()) if (state === "REQUESTED") return true;
    return false;
  }

  // ── what an earlier process kept ───────────────────────────────────────────────────────────────────────────────

  /**
   * Takes what was kept for the names that are still waited for, through the same checks as if the server had sent it; gives the names of which there
   * was something. `refused` is told of what does not pass them, perhaps because this release is stricter.
   */
  restore(source: string, find: (name: string) => KeptResource | undefined, refused: (name: string) => void): string[] {
    const found: string[] = [];
    for (const [name, entry] of this.#entries) {
      if (entry.state !== "REQUESTED") continue;
      const kept = find(name);
      if (kept === undefined) continue;
      try {
        this.#accept(entry, name, kept.bytes);
        entry.state = "RESTORED";
        entry.version = kept.version;
        entry.source = source;
        entry.knownMs = kept.knownMs;
        found.push(name);
      } catch (error) {
        this.#options.log.warn(`the kept ${this.#options.name} ${name} is not used: ${textOf(error)}`);
        refused(name);
      }
    }
    return found;
  }

  /** What deserves to be kept: all that is in use, and that the server has not removed. Not what is to live for a while only (R21). */
  *held(source: string): Generator<KeptResource> {
    for (const [name, entry] of this.#entries) {
      const { state, value, bytes, expiry, knownMs } = entry;
      if (value === undefined || bytes === undefined || state === "DOES_NOT_EXIST" || expiry !== undefined) continue;
      const version = entry.source === source ? entry.version : "";
      yield { typeUrl: this.typeUrl, name, version, bytes, knownMs };
    }
  }

  *statuses(): Generator<ResourceStatus> {
    for (const [name, { state, version, failed }] of this.#entries) {
      yield { type: this.#options.name, name, state, version, failed };
    }
  }

  close(): void {
    for (const entry of this.#entries.values()) entry.expiry?.cancel();
  }

  #accept(entry: OwnEntry<T>, name: string, bytes: Uint8Array): void {
    if (entry.value !== undefined && entry.bytes !== undefined && Buffer.compare(entry.bytes, bytes) === 0) return;
    const decoded = this.#ahead.get(bytes) ?? this.#options.type.decode(bytes, this.#options.decode, entry.value);
    if (decoded instanceof ResourceError) throw decoded;
    const { value } = decoded;
    this.#options.check?.(name, value);
    this.#changes += 1;
    entry.value = value;
    // A copy, where the view would keep much more alive than itself.
    entry.bytes = bytes.byteLength * 2 < bytes.buffer.byteLength ? new Uint8Array(bytes) : bytes;
  }

  #expire(raw: RawResource, entry: OwnEntry<T>): void {
    entry.expiry?.cancel();
    entry.expiry = undefined;
    if (raw.ttlMs === undefined || raw.ttlMs === 0) return;
    entry.expiry = this.#options.clock.after(raw.ttlMs, () => {
      this.remove(raw.name, false);
      this.#options.onExpired(raw.name);
    });
  }
}

function newEntry<T>(): OwnEntry<T> {
  return {
    state: "REQUESTED",
    value: undefined,
    version: "",
    failed: undefined,
    bytes: undefined,
    expiry: undefined,
    knownMs: 0,
    source: "",
  };
}

function forget<T>(entry: OwnEntry<T>): void {
  entry.value = undefined;
  entry.bytes = undefined;
  entry.version = "";
}
