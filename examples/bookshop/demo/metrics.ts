/** One series of `/metrics`. */
export interface Sample {
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
}

/** Reads what the services really expose, as Prometheus would. A service that is gone yields nothing. */
export async function scrape(ports: ReadonlyMap<string, number>): Promise<Sample[]> {
  const texts = await Promise.all(
    [...ports.values()].map(async (port) => {
      try {
        const response = await fetch(`http://127.0.0.1:${port}/metrics`, { signal: AbortSignal.timeout(2_000) });
        return await response.text();
      } catch {
        return "";
      }
    }),
  );
  return texts.flatMap((text) => parse(text));
}

/** The text format of Prometheus, as far as counters and histograms need it. */
export function parse(text: string): Sample[] {
  const samples: Sample[] = [];
  for (const line of text.split("\n")) {
    const match = /^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)$/.exec(line);
    if (match === null) continue;
    const labels: Record<string, string> = {};
    for (const [, name, value] of (match[2] ?? "").matchAll(/(\w+)="((?:[^"\\]|\\.)*)"/g)) labels[name!] = value!;
    samples.push({ name: match[1]!, labels, value: Number(match[3]) });
  }
  return samples;
}

/** The sum over all series of that name whose labels agree. */
export function sum(samples: readonly Sample[], name: string, labels: Readonly<Record<string, string>> = {}): number {
  let total = 0;
  for (const sample of samples) {
    if (sample.name !== name) continue;
    if (Object.entries(labels).every(([key, value]) => sample.labels[key] === value)) total += sample.value;
  }
  return total;
}

/** A quantile by linear interpolation inside its bucket, as PromQL's `histogram_quantile` does; NaN when nothing was counted. */
export function quantile(q: number, buckets: ReadonlyMap<number, number>): number {
  const bounds = [...buckets.keys()].toSorted((a, b) => a - b);
  const total = buckets.get(Infinity) ?? 0;
  if (total === 0) return NaN;
  let lower = 0;
  let before = 0;
  for (const bound of bounds) {
    const count = buckets.get(bound)!;
    if (count >= q * total) {
      if (bound === Infinity) return lower;
      return lower + ((bound - lower) * (q * total - before)) / Math.max(count - before, 1);
    }
    lower = bound;
    before = count;
  }
  return lower;
}
