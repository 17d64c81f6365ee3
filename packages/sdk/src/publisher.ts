import { type Clock, type Engine, inTurns, type MeshConfig } from "@trama/engine";

export interface PublisherOptions {
  readonly engine: Pick<Engine, "publishing">;
  readonly clock: Pick<Clock, "now">;
  /** Lets the event loop take one turn. */
  readonly nextTurn: () => Promise<void>;
  /** A configuration came into force. */
  readonly onPublished: () => void;
}

/**
 * Puts configurations in force, one after the other: at once, as nearly all are little work, or over several turns of the event loop
 * when thousands of endpoints came. One that arrives meanwhile waits, and takes the place of another one that waits; what is under
 * way is not given up for it, so that none of them has to begin from nothing, and no stream of changes can keep all of them out.
 */
export class Publisher {
  readonly #options: PublisherOptions;
  #waiting: { readonly config: MeshConfig; readonly done: PromiseWithResolvers<void> } | undefined;
  #busy = false;

  constructor(options: PublisherOptions) {
    this.#options = options;
  }

  /** A promise when it is not in force yet: settles when this one is, or a newer one. Throws or rejects with what the compiler throws. */
  publish(config: MeshConfig): void | Promise<void> {
    if (this.#busy) {
      const done = this.#waiting?.done ?? Promise.withResolvers<void>();
      this.#waiting = { config, done };
      return done.promise;
    }
    const { engine, clock, nextTurn, onPublished } = this.#options;
    const published = inTurns(engine.publishing(config), () => clock.now(), nextTurn);
    if (published === undefined) return onPublished();
    this.#busy = true;
    // Whoever waited for it, with a request in hand, begins in a turn of its own.
    return published
      .then(onPublished)
      .then(nextTurn)
      .finally(() => this.#goOn());
  }

  #goOn(): void {
    this.#busy = false;
    const next = this.#waiting;
    if (next === undefined) return;
    this.#waiting = undefined;
    const { config, done } = next;
    // Within this turn, or a newer one could come before it.
    new Promise<void>((resolve) => resolve(this.publish(config) ?? undefined)).then(done.resolve, done.reject);
  }
}
