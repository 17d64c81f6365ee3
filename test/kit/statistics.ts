/** Pearson's statistic of observed counts against expected shares. */
export function chiSquare(observed: readonly number[], shares: readonly number[]): number {
  const total = sum(observed);
  const whole = sum(shares);
  return observed.reduce((statistic, count, at) => {
    const expected = (total * shares[at]!) / whole;
    return statistic + (count - expected) ** 2 / expected;
  }, 0);
}

/**
 * The value that chi-square exceeds once in a thousand runs by chance, for the given degrees of freedom (Wilson–Hilferty,
 * good to a percent from 3 degrees on). `z` is how many standard deviations that is; more of them for rarer.
 */
export function chiSquareLimit(degrees: number, z = 3.0902): number {
  const k = 2 / (9 * degrees);
  return degrees * (1 - k + z * Math.sqrt(k)) ** 3;
}

function sum(values: readonly number[]): number {
  return values.reduce((a, b) => a + b, 0);
}
