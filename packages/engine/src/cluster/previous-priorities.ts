/**
 * Envoy's `previous_priorities`: which priorities a retry stays away from. After every `every` attempts those that were tried are
 * avoided from then on; when no other is left that could serve, all are forgotten and everything counts again. `tried`:
 * the priorities of the attempts so far, in order; `serves`: by priority, whether anybody there takes traffic. `undefined`:
 * none is avoided.
 */
export function avoidedPriorities(
  tried: readonly number[],
  every: number,
  serves: readonly boolean[],
): readonly boolean[] | undefined {
  let avoided: boolean[] | undefined;
  let first = 0;
  for (let count = 1; count <= tried.length; count++) {
    if ((count - first) % every !== 0) continue;
    avoided ??= serves.map(() => false);
    for (let at = first; at < count; at++) avoided[tried[at]!] = true;
    if (serves.some((some, at) => some && !avoided![at])) continue;
    avoided = undefined;
    first = count;
  }
  return avoided;
}
