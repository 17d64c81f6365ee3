/** The largest number that `grpc-timeout` can say: eight digits (gRPC over HTTP/2, "Timeout"). */
const most = 99_999_999;
const units: readonly (readonly [unit: string, ms: number])[] = [
  ["m", 1],
  ["S", 1_000],
  ["M", 60_000],
  ["H", 3_600_000],
];
const unitMs: Readonly<Record<string, number>> = { H: 3_600_000, M: 60_000, S: 1_000, m: 1, u: 0.001, n: 0.000_001 };

/** What is left of a deadline, as the header says it: in the smallest unit that holds it, never longer than it is, at least 1 ms. */
export function formatTimeout(ms: number): string {
  for (const [unit, size] of units) {
    const value = Math.floor(ms / size);
    if (value <= most) return `${Math.max(1, value)}${unit}`;
  }
  return `${most}H`;
}

/**
 * Milliseconds of a received `grpc-timeout`; `undefined` for what is none: over-long, signed, without unit, empty. grpc-js itself takes
 * many of those for a number (CVE class 19), so they are refused before it sees them.
 */
export function parseTimeout(text: string): number | undefined {
  if (!/^\d{1,8}[HMSmun]$/.test(text)) return undefined;
  return Number(text.slice(0, -1)) * unitMs[text.at(-1)!]!;
}
