import { isDeepStrictEqual } from "node:util";

import { observingListener } from "../../envoy/observe.ts";
import { startEnvoy } from "../../envoy/process.ts";
import type { RunningEnvoy } from "../../envoy/process.ts";
import type { Capability, Context } from "../../peer.ts";
import { Chance, caseSeed } from "../chance.ts";
import { dial } from "../dial.ts";
import { concluded } from "../difference.ts";
import type { Difference } from "../difference.ts";
import { exchange, type WireRequest } from "../http1.ts";
import { routeTo } from "../route-to.ts";
import { startBackends, type Backends } from "./backends.ts";
import { type ClusterHealth, clusterHealth } from "./health.ts";
import { type OurDetection, ourDetection } from "./ours.ts";
import { intervalMs, type RateCase, rateCase, rounds } from "./rate-cases.ts";

const loopback = "127.0.0.1";
const backendCount = 6;
const requestsPerBatch = 60;
/** Of an interval that is sure to be over, until Envoy has judged it. */
const slackMs = 1_000;

/** One case, on both sides. */
interface Run {
  readonly made: RateCase;
  readonly ours: OurDetection;
  /** With `max_ejection_percent` 100: all that are reason for an ejection. */
  readonly reasons: OurDetection;
}

/**
 * Outlier detection by rates. Envoy judges whole intervals of its own time, so a batch of requests must lie in one: it begins after a turn
 * was seen in what Envoy tells of its endpoints, and counts if it had ended before the next one can have come; what was late is left
 * out, whatever came of it. Our side gets the same outcomes and has its own clock turned on by an interval.
 */
export const ratesRow: Capability = {
  name: "oracle: ejection by rates",
  limitMs: 180_000,
  async run(context) {
    const backends = await startBackends(backendCount, loopback);
    const members = backends.ports.map((port) => ({ address: loopback, port }));
    const count = Math.ceil((context.requests * 0.2) / requestsPerBatch / rounds);
    const runs = Array.from({ length: count }, (_, at): Run => {
      const chance = new Chance(caseSeed(context.seed, 9_000_000 + at));
      const made = rateCase(chance, at, requestsPerBatch, members);
      return {
        made,
        ours: ourDetection(made.cluster, context.seed),
        reasons: ourDetection(made.unbounded, context.seed),
      };
    });
    context.progress(`${count} clusters, ${rounds} intervals each, seed ${context.seed}`);
    const all = { name: "all", domains: ["*"], routes: runs.map(({ made }) => routeTo(made.name)) };
    const differences: Difference[] = [];
    let [compared, out, late] = [0, 0, 0];
    try {
      const envoy = await startEnvoy(context, "rates", {
        staticResources: {
          listeners: [observingListener("rates", { name: "rates", virtualHosts: [all] }, [])],
          clusters: runs.map(({ made }) => made.cluster),
        },
      });
      try {
        const port = await envoy.listenerPort("rates");
        const send = async (requests: readonly WireRequest[]): Promise<void> =>
          void (await exchange(() => dial(port), requests, context.signal));
        await send(runs.flatMap(({ made }) => made.marker));
        let left: readonly Run[] = runs;
        for (let round = 0; round < rounds; round++) {
          const sent = new Map<Run, boolean>();
          const latest = await atTurns(context, envoy, left, round, async (run, turn) => {
            await send(run.made.batches[round]!);
            sent.set(run, performance.now() < turn + intervalMs);
          });
          const health = await judged(context, envoy, latest);
          const inTime = [...sent].flatMap(([run, whole]) => (whole ? [run] : []));
          late += sent.size - inTime.length;
          left = inTime.filter((run) => {
            const envoys = health.get(run.made.name)!;
            compared += envoys.rates.length;
            out += envoys.ejected.length;
            const found = compare(run, round, backends, envoys);
            if (found !== undefined) differences.push(found);
            // All that follows would differ for the same reason; and where only some may be out, others may be.
            return found === undefined && !run.made.bounded;
          });
        }
      } finally {
        await envoy.stop();
      }
    } finally {
      await backends.close();
    }
    if (compared === 0)
      return { result: "fail", detail: `no batch of ${count} was within an interval: the machine is too busy` };
    const outcome = concluded(context, "verdicts", compared, differences);
    const tooLate = late === 0 ? "" : `; ${late} batches were too late to count`;
    return { ...outcome, detail: `${outcome.detail}; ${out} of them out${tooLate}` };
  },
};

/**
 * Calls `act` for each cluster whose interval has turned, with a moment before that: what Envoy tells of its rates is of another interval
 * than before. One of which it tells none has none to turn. Resolves to a moment after the last turn.
 */
async function atTurns(
  context: Context,
  envoy: RunningEnvoy,
  runs: readonly Run[],
  round: number,
  act: (run: Run, earliest: number) => Promise<void>,
): Promise<number> {
  let asked = performance.now();
  const end = asked + 3 * intervalMs;
  const first = await clusterHealth(envoy, "^case-");
  // Of a batch in which nobody had enough requests there is nothing to see; of markers, which come first, there will be.
  const blind = round === 0 ? [] : runs.filter(({ made }) => silent(first.get(made.name)!));
  const waiting = new Map(runs.filter((run) => !blind.includes(run)).map((run) => [run.made.name, run]));
  let latest = asked;
  while (waiting.size > 0 && asked < end) {
    context.signal.throwIfAborted();
    await new Promise((resolve) => setTimeout(resolve, 30));
    const earliest = asked;
    asked = performance.now();
    const now = await clusterHealth(envoy, "^case-");
    for (const [name, run] of waiting) {
      if (isDeepStrictEqual(now.get(name)!.rates, first.get(name)!.rates)) continue;
      waiting.delete(name);
      latest = performance.now();
      await act(run, earliest);
    }
  }
  return latest;
}

function silent({ rates }: ClusterHealth): boolean {
  return rates.every((rate) => rate === undefined);
}

/** What Envoy says when the interval that began before `latest` is over and judged. Nothing is sent meanwhile. */
async function judged(
  context: Context,
  envoy: RunningEnvoy,
  latest: number,
): Promise<ReadonlyMap<string, ClusterHealth>> {
  const waitMs = Math.max(0, latest + intervalMs + slackMs - performance.now());
  await new Promise((resolve) => setTimeout(resolve, waitMs));
  context.signal.throwIfAborted();
  // What was due before the first answer has been done before the second.
  await clusterHealth(envoy, "^case-");
  return clusterHealth(envoy, "^case-");
}

/**
 * Where only some may be out, Envoy takes them in the order of a hash of pointers: then as many must be out, each with a reason.
 */
function compare(
  { made, ours, reasons }: Run,
  round: number,
  backends: Backends,
  { ejected, rates }: ClusterHealth,
): Difference | undefined {
  const before = ours.later(0);
  const seen = made.batches[round]!.map(({ headers }) => backends.events.get(headers[0]![1]!)!);
  for (const { port, outcome } of seen) {
    ours.after(`${loopback}:${port}`, outcome);
    reasons.after(`${loopback}:${port}`, outcome);
  }
  const mine = ours.later(intervalMs);
  const reason = reasons.later(intervalMs);
  const alike = made.bounded
    ? mine.length === ejected.length && ejected.every((each) => reason.includes(each) || before.includes(each))
    : isDeepStrictEqual(mine, ejected);
  if (alike) return undefined;
  return {
    at: `${made.name}, interval ${round}`,
    config: made.cluster,
    request: seen.map(({ port, outcome }) => [port, outcome]),
    ours: { ejected: mine, reason },
    envoys: { ejected, rates },
  };
}
