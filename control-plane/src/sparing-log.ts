import { bucket } from "./bucket.ts";
import type { Clock } from "./clock.ts";

/** Lines a second, and at once after a quiet time. */
const perSecond = 5;
const burst = 50;

/**
 * For lines that anybody who reaches the port can provoke: past so many a second they are left out, or a flood of refused streams would fill the
 * disk. The next line that is written says how many that were, as `leftOut`; the metrics count them all.
 */
export function sparingly(clock: Clock): (write: (more: { readonly leftOut?: number }) => void) => void {
  const permitted = bucket(clock, perSecond, burst);
  let leftOut = 0;
  return (write) => {
    if (!permitted()) {
      leftOut++;
      return;
    }
    write(leftOut === 0 ? {} : { leftOut });
    leftOut = 0;
  };
}
