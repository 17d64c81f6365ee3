import type { Clock, Logger, Timer } from "@trama/engine";

import { textOf } from "./errors.ts";
import { type KeptResource, decodeKept, encodeKept } from "./last-good-format.ts";

/** Where the last good configuration is kept: `fileLastGood(path)`, or a memory in tests. */
export interface LastGoodStore {
  /** What `save` was given last; `undefined` when nothing is kept. */
  load(): Promise<Uint8Array | undefined>;
  /** Replaces it, wholly or not at all. */
  save(bytes: Uint8Array): Promise<void>;
}

export interface LastGoodOptions {
  readonly store: LastGoodStore;
  /** SPIFFE id of this process, `undefined` until it is known. What was issued to another one is not used. */
  readonly identity: () => string | undefined;
  /** How long after its last confirmation by the control plane a resource may be used. Default 86,400,000: a day. */
  readonly maxAgeMs?: number | undefined;
  /** A larger configuration is not kept. Default 33,554,432. */
  readonly maxBytes?: number | undefined;
  /** A change is written after this long, with all that changed meanwhile. Default 5,000. */
  readonly saveDelayMs?: number | undefined;
}

interface Surroundings {
  readonly clock: Clock;
  readonly log: Logger;
  /** The server that the resources come from. */
  readonly server: string;
  /** What is held now and deserves to be kept. */
  readonly held: () => Iterable<KeptResource>;
  /** True while the server confirms what is held, by a stream that works. */
  readonly confirmed: () => boolean;
}

/** Clocks of machines differ by so much. */
const skewMs = 300_000;

/** Closing waits for a slow disk no longer than this. */
const closeMs = 2_000;

/**
 * Keeps the resources that are in force outside of the process, so that the next one can start while the control plane is away. They
 * are bound to the identity and the server they were issued to and by, and do not live for ever. Whatever is wrong with what is
 * kept, or with keeping it, is a warning and never an error: the control plane is asked, as if nothing were kept.
 *
 * Kept are the resources as they came, not what was made of them: they pass the same decoders again, of a newer release perhaps.
 */
export class LastGood {
  readonly #options: LastGoodOptions & Surroundings;
  /** What an earlier process kept, and the server has not spoken of yet. */
  readonly #kept = new Map<string, Map<string, KeptResource>>();
  #restored: Promise<boolean> | undefined;
  #timer: Timer | undefined;
  #due = false;
  #saving: Promise<void> | undefined;
  #closed = false;
  #everSaved = false;
  #warned = false;

  constructor(options: LastGoodOptions & Surroundings) {
    this.#options = options;
  }

  /** Reads what is kept; true when there is something of use. Once: later calls give the same answer. Never rejects. */
  restore(): Promise<boolean> {
    return (this.#restored ??= this.#load());
  }

  get(typeUrl: string, name: string): KeptResource | undefined {
    const found = this.#kept.get(typeUrl)?.get(name);
    return found !== undefined && this.#fresh(found) ? found : undefined;
  }

  /** The server has spoken of it, or it cannot be used: what was kept is out of date. */
  forget(typeUrl: string, name: string): void {
    this.#kept.get(typeUrl)?.delete(name);
  }

  /** What is held has changed: it is written a little later. */
  changed(): void {
    if (this.#due || this.#closed) return;
    this.#due = true;
    this.#schedule(this.#saveDelayMs);
  }

  /** Writes what is not written yet, and how long it was known to be in force. */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    this.#timer?.cancel();
    if (!this.#due && !(this.#everSaved && this.#options.confirmed())) return;
    const { promise, resolve } = Promise.withResolvers<void>();
    const patience = this.#options.clock.after(closeMs, resolve);
    await Promise.race([this.#save(), promise]);
    patience.cancel();
  }

  get #saveDelayMs(): number {
    return this.#options.saveDelayMs ?? 5_000;
  }

  get #maxAgeMs(): number {
    return this.#options.maxAgeMs ?? 86_400_000;
  }

  #fresh({ knownMs }: KeptResource): boolean {
    const age = this.#options.clock.wall() - knownMs;
    return age <= this.#maxAgeMs && age >= -skewMs;
  }

  // ── reading ────────────────────────────────────────────────────────────────────────────────────────────────────

  async #load(): Promise<boolean> {
    const { store, identity, log, server } = this.#options;
    const self = identity();
    try {
      if (self === undefined) throw new Error("our identity is not known yet");
      const bytes = await store.load();
      if (bytes === undefined) return false;
      const kept = await decodeKept(bytes);
      if (kept.identity !== self) throw new Error(`it was issued to ${kept.identity}, and we are ${self}`);
      if (kept.server !== server) throw new Error(`it is from ${kept.server}, and our control plane is ${server}`);
      const fresh = kept.resources.filter((one) => this.#fresh(one));
      if (fresh.length === 0 && kept.resources.length > 0) throw new Error("it is too old, or from the future");
      for (const one of fresh) {
        let names = this.#kept.get(one.typeUrl);
        if (names === undefined) this.#kept.set(one.typeUrl, (names = new Map()));
        names.set(one.name, one);
      }
      log.info("the last good configuration is at hand", { resources: fresh.length });
      return fresh.length > 0;
    } catch (error) {
      log.warn(`the kept configuration is not used: ${textOf(error)}`);
      return false;
    }
  }

  // ── writing ────────────────────────────────────────────────────────────────────────────────────────────────────

  #schedule(delayMs: number): void {
    this.#timer?.cancel();
    this.#timer = this.#options.clock.after(delayMs, () => {
      // Nothing changed, but a restart must know that it was in force until now.
      if (this.#due || this.#options.confirmed()) void this.#save();
      else this.#scheduleRenewal();
    });
  }

  #scheduleRenewal(): void {
    this.#schedule(this.#maxAgeMs / 12);
  }

  /** One at a time; what changes meanwhile is the next one's. */
  #save(): Promise<void> {
    this.#saving = (this.#saving ?? Promise.resolve()).then(() => this.#write());
    return this.#saving;
  }

  async #write(): Promise<void> {
    const { store, identity, log, server, maxBytes = 33_554_432 } = this.#options;
    await this.#restored; // what it finds must not be lost
    this.#due = false;
    const self = identity();
    try {
      if (self === undefined) throw new Error("our identity is not known yet");
      const bytes = await encodeKept({ identity: self, server, resources: this.#worthKeeping(maxBytes) });
      await store.save(bytes);
      this.#everSaved = true;
      this.#warned = false;
    } catch (error) {
      if (!this.#warned) {
        const meaning = "the mesh works on, but a restart without the control plane would find an older one, or none";
        log.warn(`the configuration could not be kept (${textOf(error)}); ${meaning}`);
      }
      this.#warned = true;
    }
    if (!this.#closed && !this.#due) this.#scheduleRenewal();
  }

  /** What is held, and then, as far as there is room, what an earlier process held and nobody has asked for yet. */
  #worthKeeping(maxBytes: number): KeptResource[] {
    const held = [...this.#options.held()];
    const names = new Set(held.map((one) => `${one.typeUrl}/${one.name}`));
    let bytes = held.reduce((sum, one) => sum + one.bytes.length, 0);
    if (bytes > maxBytes) throw new Error(`it has ${bytes} bytes, and maxBytes is ${maxBytes}`);
    for (const ofType of this.#kept.values()) {
      for (const one of ofType.values()) {
        if (names.has(`${one.typeUrl}/${one.name}`) || !this.#fresh(one) || bytes + one.bytes.length > maxBytes)
          continue;
        bytes += one.bytes.length;
        held.push(one);
      }
    }
    return held;
  }
}
