import type { Duration } from "@bufbuild/protobuf/wkt";

import { ResourceError } from "./error.ts";

/** Ten thousand years, the range of protobuf's Duration; a number holds its milliseconds exactly enough. */
const maxSeconds = 315_576_000_000n;

/** Milliseconds of a Duration, fractions kept. Seconds are a 64-bit integer on the wire (R41). Negative is refused. */
export function durationMs(duration: Duration, field: string): number {
  const { seconds, nanos } = duration;
  if (seconds < 0n || nanos < 0 || nanos > 999_999_999 || seconds > maxSeconds) {
    throw new ResourceError(`${field} is not a duration (${seconds}s ${nanos}ns)`);
  }
  return Number(seconds) * 1000 + nanos / 1e6;
}
