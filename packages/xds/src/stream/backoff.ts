/** How long to wait before the next stream. */
export interface Backoff {
  /** The delay before the next attempt, in milliseconds; each call counts as one failed attempt. */
  next(): number;
  /** Called with the first response of a stream (R17). */
  reset(): void;
}

export interface BackoffOptions {
  /** Default 500. */
  readonly baseMs?: number | undefined;
  /** Default 15,000: a control plane that comes back has its clients again within that time, not all at once. */
  readonly maxMs?: number | undefined;
}

/**
 * Doubles from `baseMs` to `maxMs`. Half of each delay is chance, so that the clients of a restarted control plane come
 * back spread over time, and none of it is ever zero: an ordinary rotation waits a moment too, and is no storm.
 */
export function createBackoff(random: () => number, options: BackoffOptions = {}): Backoff {
  const base = options.baseMs ?? 500;
  const max = options.maxMs ?? 15_000;
  let ceiling = base;
  return {
    next() {
      const delay = ceiling / 2 + random() * (ceiling / 2);
      ceiling = Math.min(ceiling * 2, max);
      return delay;
    },
    reset() {
      ceiling = base;
    },
  };
}
