import type { Dispatcher as UndiciDispatcher } from "undici";

import { Dispatcher, realAgent } from "../undici-parts.ts";
import { meshInterceptor } from "./interceptor.ts";
import type { MeshDispatcher } from "./undici.ts";

/** Where undici keeps its global dispatcher: by the version of the interface. Node's own fetch up to 24 reads the first, and newer ones the second. */
const slots = [Symbol.for("undici.globalDispatcher.1"), Symbol.for("undici.globalDispatcher.2")] as const;

/** The global dispatcher of an application, with the mesh before it. */
class Intercepted extends Dispatcher {
  readonly #dispatch: UndiciDispatcher["dispatch"];
  readonly #own: UndiciDispatcher;

  constructor(mesh: MeshDispatcher, own: UndiciDispatcher) {
    super();
    this.#own = own;
    this.#dispatch = meshInterceptor(mesh)((options, handler) => own.dispatch(options, handler));
  }

  override dispatch(options: UndiciDispatcher.DispatchOptions, handler: UndiciDispatcher.DispatchHandler): boolean {
    return this.#dispatch(options, handler);
  }

  override close(): Promise<void>;
  override close(callback: () => void): void;
  override close(callback?: () => void): Promise<void> | void {
    return callback === undefined ? this.#own.close() : this.#own.close(callback);
  }

  override destroy(): Promise<void>;
  override destroy(error: Error | null): Promise<void>;
  override destroy(callback: () => void): void;
  override destroy(error: Error | null, callback: () => void): void;
  override destroy(error?: Error | null | (() => void), callback?: () => void): Promise<void> | void {
    const own = this.#own as unknown as { destroy(...values: unknown[]): Promise<void> | void };
    return own.destroy(...[error, callback].filter((value) => value !== undefined));
  }
}

/** Puts the mesh before the dispatchers that fetch and undici use when they are given none. Returns an undo. */
export function interceptFetch(mesh: MeshDispatcher): () => void {
  // Node's fetch comes into being when it is first touched, and then wants a place for a dispatcher of its own.
  void globalThis.Response;
  const undos = slots.map((slot) => {
    const globals = globalThis as unknown as Record<symbol, UndiciDispatcher | undefined>;
    const own = globals[slot];
    // The first slot's users know the older interface only, and no agent of ours would: without one of theirs there is no such user.
    if (own === undefined && slot === slots[0]) return () => {};
    const before = own ?? realAgent();
    const intercepted = new Intercepted(mesh, before);
    if (own === undefined)
      Object.defineProperty(globalThis, slot, { value: intercepted, writable: true, configurable: true });
    else globals[slot] = intercepted;
    return () => {
      // Never nothing: an undici that was loaded meanwhile has found ours, and made none.
      if (globals[slot] === intercepted) globals[slot] = before;
    };
  });
  return () => {
    for (const undo of undos) undo();
  };
}
