import type { MetricFamily } from "@trama/engine";
import type { MetricObjectWithValues, MetricValue, Registry } from "prom-client";

import { TramaError } from "./errors.ts";

/**
 * The mesh's metrics as a prom-client registry. Recording in prom-client costs over a microsecond with these labels, so the engine
 * counts in cells of its own, and a collector hands them over when somebody scrapes. Loaded with the first scrape.
 */
export async function createRegistry(collect: () => readonly MetricFamily[]): Promise<Registry> {
  const client = await import("prom-client").catch((cause: unknown) => {
    throw new TramaError("OPTIONS_INVALID", "metrics need prom-client: npm install prom-client", { cause });
  });
  const registry = new client.Registry();
  for (const { name, help, type } of collect())
    registry.registerMetric(new Collected(name, help, type, collect) as never);
  return registry;
}

/** What prom-client asks of a metric when it is scraped. */
class Collected {
  readonly name: string;
  readonly help: string;
  readonly #type: MetricFamily["type"];
  readonly #collect: () => readonly MetricFamily[];

  constructor(name: string, help: string, type: MetricFamily["type"], collect: () => readonly MetricFamily[]) {
    this.name = name;
    this.help = help;
    this.#type = type;
    this.#collect = collect;
  }

  get(): Promise<MetricObjectWithValues<MetricValue<string>>> {
    const family = this.#collect().find(({ name }) => name === this.name)!;
    const values =
      family.type === "counter"
        ? family.series.map(({ labels, value }) => ({ labels, value }))
        : family.series.flatMap((series) => histogram(this.name, series));
    return Promise.resolve({ name: this.name, help: this.help, type: this.#type, values, aggregator: "sum" } as never);
  }

  /** The cells belong to the engine, and count from the start of the process. */
  reset(): void {}
}

type Histogram = Extract<MetricFamily, { type: "histogram" }>["series"][number];

function histogram(name: string, { labels, buckets, sum, count }: Histogram): object[] {
  return [
    ...buckets.map((bucket) => ({
      labels: { le: bucket.le === Infinity ? "+Inf" : bucket.le, ...labels },
      value: bucket.count,
      metricName: `${name}_bucket`,
    })),
    { labels, value: sum, metricName: `${name}_sum` },
    { labels, value: count, metricName: `${name}_count` },
  ];
}
