/** Buckets to a doubling: an estimate is at most a fifth too high, which for a moment to hedge at is near enough. */
const PER_DOUBLING = 4;
/** From a quarter of a millisecond to more than any call takes. */
const BUCKETS = 25 * PER_DOUBLING;
const LEAST_MS = 0.25;
/** Below this the tail is guesswork. */
const ENOUGH = 64;
/** After so many the past counts half: what was true an hour ago must not decide what is slow now. */
const HALVE_AFTER = 1_024;
/** How often the answer is worked out anew. */
const REFRESH = 16;

/** How long the answers of a cluster took of late, in buckets that grow: what its p95 is read from. Constant in size. */
export class AnswerTimes {
  readonly #counts = new Float64Array(BUCKETS);
  #total = 0;
  #sinceHalving = 0;
  #sinceAsked = 0;
  #asked = 0;
  #answer: number | undefined = undefined;

  add(ms: number): void {
    const at = Math.ceil(Math.log2(Math.max(ms, LEAST_MS) / LEAST_MS) * PER_DOUBLING);
    this.#counts[Math.min(at, BUCKETS - 1)]!++;
    this.#total++;
    this.#sinceAsked++;
    if (++this.#sinceHalving < HALVE_AFTER) return;
    this.#sinceHalving = 0;
    for (let i = 0; i < BUCKETS; i++) this.#counts[i]! /= 2;
    this.#total /= 2;
  }

  /** Milliseconds in which this share (0.95) of the answers has come; `undefined` while too few were seen. */
  quantile(share: number): number | undefined {
    if (this.#total < ENOUGH) return undefined;
    if (this.#answer !== undefined && this.#asked === share && this.#sinceAsked < REFRESH) return this.#answer;
    this.#asked = share;
    this.#sinceAsked = 0;
    let left = this.#total * share;
    let at = 0;
    while (at < BUCKETS - 1 && (left -= this.#counts[at]!) > 0) at++;
    return (this.#answer = LEAST_MS * 2 ** (at / PER_DOUBLING));
  }
}
