import { createRequire } from "node:module";
import type * as undici from "undici";

const require = createRequire(import.meta.url);

/**
 * The parts of undici that a mesh needs, loaded by file: the package's index brings its fetch, cache, mock and proxies along,
 * which are 60 ms and 14 MB of each process that joins (measured; `test/bench` reports it). What only a call needs is loaded by the
 * first one, for that is another 40 ms and 5 MB, and a process that only serves makes none. undici's version is pinned exactly, and
 * `undici-parts.test.ts` fails should a file move or be another class than the index has.
 */
export const Dispatcher = require("undici/lib/dispatcher/dispatcher.js") as typeof undici.Dispatcher;
export const Client: typeof undici.Client = late(() => require("undici/lib/dispatcher/client.js"));
export const Dispatcher1Wrapper: typeof undici.Dispatcher1Wrapper = late(() =>
  require("undici/lib/dispatcher/dispatcher1-wrapper.js"),
);

/** For what goes wrong in a call. */
export function errors(): typeof undici.errors {
  return require("undici/lib/core/errors.js") as typeof undici.errors;
}

/** A class that is loaded when the first object of it is made, or a static of it is used. */
function late<C extends new (...args: never[]) => object>(load: () => unknown): C {
  let loaded: C | undefined;
  const the = (): C => (loaded ??= load() as C);
  return new Proxy(class {} as unknown as C, {
    construct: (_target, args) => Reflect.construct(the(), args) as object,
    get: (_target, name) => Reflect.get(the(), name) as unknown,
  });
}

/** undici's own, made now. */
export function realAgent(options?: undici.Agent.Options): undici.Agent {
  return new (require("undici/lib/dispatcher/agent.js") as typeof undici.Agent)(options);
}

/** What opens undici's connections, and puts TLS around one that is given. */
export function realConnector(options: undici.buildConnector.BuildOptions): undici.buildConnector.connector {
  return (require("undici/lib/core/connect.js") as typeof undici.buildConnector)(options);
}

/** An agent of undici that is made by the first request. */
export class Agent extends Dispatcher {
  readonly #options: undici.Agent.Options | undefined;
  #agent: undici.Agent | undefined;
  #closed = false;

  constructor(options?: undici.Agent.Options) {
    super();
    this.#options = options;
  }

  override dispatch(options: undici.Dispatcher.DispatchOptions, handler: undici.Dispatcher.DispatchHandler): boolean {
    if (this.#agent === undefined) {
      this.#agent = realAgent(this.#options);
      // It knows best how to refuse.
      if (this.#closed) void this.#agent.destroy();
    }
    return this.#agent.dispatch(options, handler);
  }

  override close(): Promise<void>;
  override close(callback: () => void): void;
  override close(callback?: () => void): Promise<void> | void {
    this.#closed = true;
    const closed = this.#agent?.close() ?? Promise.resolve();
    return callback === undefined ? closed : void closed.finally(callback);
  }

  override destroy(): Promise<void>;
  override destroy(error: Error | null): Promise<void>;
  override destroy(callback: () => void): void;
  override destroy(error: Error | null, callback: () => void): void;
  override destroy(error?: Error | null | (() => void), callback?: () => void): Promise<void> | void {
    this.#closed = true;
    const done = typeof error === "function" ? error : callback;
    const reason = typeof error === "function" ? null : (error ?? null);
    const destroyed = this.#agent?.destroy(reason) ?? Promise.resolve();
    return done === undefined ? destroyed : void destroyed.finally(done);
  }
}

type Method = (this: undici.Dispatcher, ...args: unknown[]) => unknown;

/** `request`, `stream` and their like, which undici's index adds to the prototype of `Dispatcher`. */
export const dispatcherMethods: Readonly<Record<string, Method>> = Object.fromEntries(
  ["request", "stream", "pipeline", "upgrade", "connect"].map((name): [string, Method] => {
    // `require` finds what is loaded in 2 µs, which a request would pay each time.
    let method: Method | undefined;
    return [
      name,
      function (...args) {
        method ??= (require("undici/lib/api/index.js") as Record<string, Method>)[name]!;
        return method.apply(this, args);
      },
    ];
  }),
);
