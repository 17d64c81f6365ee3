import type { Sliced } from "@trama/engine";

/** What a decoder needs to know besides the bytes. */
export interface DecodeOptions {
  /** Compiles a policy regex; throws when it is not RE2. Only for the check: the engine compiles its own (R29). */
  readonly regex: (pattern: string) => unknown;
  /** Certificate provider instances that the bootstrap has: a resource may name no other (BS9). */
  readonly certificateProviders: ReadonlySet<string>;
}

/** One type of xDS resource: bytes in, a validated plain value out. */
export interface ResourceType<T> {
  readonly typeUrl: string;
  /**
   * Throws a ResourceError, and nothing else, when the resource cannot be used as it was meant; its message goes into the NACK.
   * `name` is the resource's name as it says itself. `before` is what is held under the name: what did not change may be taken over
   * from it by identity, and what is made of it later as well (R14).
   */
  decode(bytes: Uint8Array, options: DecodeOptions, before?: T): Decoded<T>;
  /** The same, for a type whose resources may be large: yields now and then, so that others may run in between. */
  slices?(bytes: Uint8Array, options: DecodeOptions, before?: T): Sliced<Decoded<T>>;
}

export interface Decoded<T> {
  readonly name: string;
  readonly value: T;
}
