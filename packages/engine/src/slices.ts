/**
 * Work that takes long when there is much of it, done in slices: it yields after some tenths of a millisecond, so that whoever
 * drives it may let others run, and ends with its result. Ended early (`return()`), it gives back what it held.
 */
export type Sliced<T> = Generator<undefined, T>;

/** All of it without a break. */
export function finish<T>(work: Sliced<T>): T {
  for (;;) {
    const { done, value } = work.next();
    if (done === true) return value;
  }
}

/** How long slices may hold the event loop before it has a turn; a collection of some milliseconds may fall into any. */
const turnMs = 0.25;

/** Does it over several turns of the event loop; `nextTurn` lets the loop take one. At once, and no promise, when it is little work. */
export function inTurns<T>(work: Sliced<T>, now: () => number, nextTurn: () => Promise<void>): T | Promise<T> {
  const { done, value } = someOf(work, now);
  return done === true ? value : restOf(work, now, nextTurn);
}

async function restOf<T>(work: Sliced<T>, now: () => number, nextTurn: () => Promise<void>): Promise<T> {
  for (;;) {
    await nextTurn();
    const { done, value } = someOf(work, now);
    if (done === true) return value;
  }
}

/** As much of it as may hold the event loop for so long. */
export function someOf<T>(work: Sliced<T>, now: () => number, forMs: number = turnMs): IteratorResult<undefined, T> {
  const untilMs = now() + forMs;
  for (;;) {
    const slice = work.next();
    if (slice.done === true || now() >= untilMs) return slice;
  }
}

/** What a loop over many does in one slice. So many new objects cost a millisecond or two before V8 has optimised it, and then tenths. */
const sliceLength = 256;

/** A loop from 0 to `length` in slices: `each` does a part of it. */
export function* inParts(length: number, each: (from: number, to: number) => void): Sliced<void> {
  for (let from = 0; from < length; from += sliceLength) {
    if (from > 0) yield undefined;
    each(from, Math.min(length, from + sliceLength));
  }
}
