/** Two-sided 99.9 % quantile of the normal distribution: how far a fair share may stray by chance. */
const z = 3.2905;

/** The half width of the binomial 99.9 % interval of a share `p` over `n` draws. */
export function tolerance(p: number, n: number): number {
  return z * Math.sqrt((p * (1 - p)) / n);
}
