/** Draws one of several by weight; one roll a draw. */
export type Split<T> = (random: () => number) => T;

/**
 * A weighted choice (R35). It is made once per call, above retries, so that a retry stays with the version it first went to
 * and the share of a canary is what the weights say (R38). Weight 0 is legal and never drawn; the weights need
 * not sum up to 100. Weights are integers and their sum is exact in a double, so no share is lost to rounding.
 */
export function compileSplit<T>(
  entries: readonly { readonly weight: number; readonly value: T }[],
): Split<T> | undefined {
  const drawn = entries.filter((entry) => entry.weight > 0);
  const values = drawn.map((entry) => entry.value);
  if (values.length === 0) return undefined;
  if (values.length === 1) return () => values[0]!;
  let total = 0;
  const ends = drawn.map((entry) => (total += entry.weight));
  return (random) => {
    const at = random() * total;
    for (let i = 0; i < ends.length; i++) if (at < ends[i]!) return values[i]!;
    return values[values.length - 1]!;
  };
}
