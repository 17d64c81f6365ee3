import type { ClusterConfig, HealthCheckConfig } from "../config.ts";
import type { Env, HealthAnswer, HealthProber, Timer } from "../env.ts";
import { inParts } from "../slices.ts";
import type { Sliced } from "../slices.ts";
import { BARRED } from "./endpoint-load.ts";
import type { Endpoint } from "./endpoint.ts";
import type { Membership } from "./member.ts";

/** Checks of one cluster under way at a time: ten thousand endpoints must not be asked in one breath. */
const MAX_UNDER_WAY = 64;
/** As with attempts: a time-out that we handle later than this says that our own event loop was blocked. */
const LATE_MS = 50;

interface Watched extends Membership {
  /** Hears of endpoints that answered well, where there is such a detector. */
  readonly outlier: { checkSucceeded(endpoint: Endpoint): void } | undefined;
}

/**
 * Active health checks of one cluster, with Envoy's thresholds and intervals. Belongs to keyed state: a change of
 * endpoints neither forgets nor repeats what is known of the others.
 *
 * An endpoint that was not asked yet takes traffic, where an Envoy would wait for the first round: a process starts at
 * once. Its first answer decides alone, either way.
 */
export class HealthChecks {
  readonly #cluster: string;
  readonly #shared: Watched;
  readonly #env: Env;
  readonly #prober: HealthProber;
  readonly #checks = new Map<string, Check>();
  readonly #queue: Check[] = [];
  #underWay = 0;
  /** Of the newest member that was adopted. */
  #round = 0;
  #config: ClusterConfig | undefined = undefined;

  constructor(cluster: string, shared: Watched, env: Env, prober: HealthProber) {
    this.#cluster = cluster;
    this.#shared = shared;
    this.#env = env;
    this.#prober = prober;
  }

  /** Called when the newest member changed: its endpoints are those to be asked. */
  *adopt(): Sliced<void> {
    const newest = this.#shared.members.at(-1);
    this.#config = newest?.config;
    const how = newest?.config.healthCheck;
    const round = ++this.#round;
    for (const endpoints of how === undefined ? [] : newest!.endpoints)
      yield* inParts(endpoints.length, (from, to) => {
        for (let at = from; at < to; at++) {
          const endpoint = endpoints[at]!;
          let check = this.#checks.get(endpoint.config.address);
          if (check === undefined) check = this.#begin(endpoint, how!);
          else check.endpoint = endpoint;
          check.round = round;
        }
      });
    const checks = [...this.#checks.values()];
    yield* inParts(checks.length, (from, to) => {
      for (let at = from; at < to; at++) if (checks[at]!.round !== round) this.#end(checks[at]!);
    });
  }

  #begin(endpoint: Endpoint, how: HealthCheckConfig): Check {
    const check = new Check(endpoint);
    this.#checks.set(endpoint.config.address, check);
    this.#wait(check, this.#env.random() * how.initialJitterMs);
    return check;
  }

  #end(check: Check): void {
    this.#checks.delete(check.endpoint.config.address);
    check.timer?.cancel();
    if (check.asking !== undefined) this.#stop(check);
    const { endpoint } = check;
    if ((endpoint.known.barred & BARRED.checkFailed) === 0) return;
    endpoint.load.barred &= ~BARRED.checkFailed;
    this.#shared.healthVersion++;
  }

  #wait(check: Check, ms: number): void {
    check.timer = this.#env.clock.after(ms, () => {
      check.timer = undefined;
      this.#queue.push(check);
      this.#askNext();
    });
  }

  #askNext(): void {
    while (this.#underWay < MAX_UNDER_WAY && this.#queue.length > 0) {
      const check = this.#queue.shift()!;
      // Gone while it waited.
      if (this.#checks.get(check.endpoint.config.address) === check) this.#ask(check);
    }
  }

  #ask(check: Check): void {
    const config = this.#config!;
    const { clock } = this.#env;
    this.#underWay++;
    const { timeoutMs } = config.healthCheck!;
    const dueMs = clock.now() + timeoutMs;
    check.asking = idle;
    check.timer = clock.after(timeoutMs, () =>
      this.#answered(check, clock.now() - dueMs < LATE_MS ? "failed" : "unknown"),
    );
    const asking = this.#prober.ask(config, check.endpoint.config, (answer) => this.#answered(check, answer));
    // It may have answered already.
    if (check.asking !== undefined) check.asking = asking;
  }

  #stop(check: Check): void {
    check.asking!.cancel();
    check.asking = undefined;
    this.#underWay--;
  }

  #answered(check: Check, answer: HealthAnswer): void {
    if (check.asking === undefined) return;
    check.timer?.cancel();
    this.#stop(check);
    const how = this.#config?.healthCheck;
    if (how !== undefined) {
      const turned = answer !== "unknown" && this.#judge(check, answer, how);
      if (answer === "well") this.#shared.outlier?.checkSucceeded(check.endpoint);
      this.#wait(check, this.#intervalMs(check, turned, how));
    }
    this.#askNext();
  }

  /** Whether it turned from healthy to unhealthy, or back. */
  #judge(check: Check, answer: "well" | "failed" | "bad", how: HealthCheckConfig): boolean {
    const well = answer === "well";
    if (check.healthy === well) {
      check.run = 0;
      return false;
    }
    const enough = well ? how.healthyThreshold : how.unhealthyThreshold;
    if (++check.run < enough && check.healthy !== undefined && answer !== "bad") return false;
    const first = check.healthy === undefined;
    check.healthy = well;
    check.run = 0;
    const { endpoint } = check;
    if (!well) endpoint.load.barred |= BARRED.checkFailed;
    else if (endpoint.known.barred !== 0) endpoint.load.barred &= ~BARRED.checkFailed;
    this.#shared.healthVersion++;
    const fields = { cluster: this.#cluster, endpoint: endpoint.config.address };
    if (!well) this.#env.log.warn("an endpoint fails its health check", fields);
    else if (!first) this.#env.log.info("an endpoint passes its health check again", fields);
    return true;
  }

  /** The time to the next check, by Envoy's order of precedence. */
  #intervalMs({ healthy }: Check, turned: boolean, how: HealthCheckConfig): number {
    const { random } = this.#env;
    let ms: number;
    if (!this.#shared.called) ms = healthy === true ? how.noTrafficHealthyIntervalMs : how.noTrafficIntervalMs;
    else if (healthy === false) ms = turned ? how.unhealthyEdgeIntervalMs : how.unhealthyIntervalMs;
    else ms = turned ? how.healthyEdgeIntervalMs : how.intervalMs;
    return ms + random() * how.intervalJitterMs + (random() * ms * how.intervalJitterPercent) / 100;
  }
}

/** What is known of one endpoint. */
class Check {
  /** As the newest snapshot has it. */
  endpoint: Endpoint;
  /** The last one in which it was among those to be asked. */
  round = 0;
  /** `undefined`: not asked yet. */
  healthy: boolean | undefined = undefined;
  /** Answers in a row that contradict `healthy`. */
  run = 0;
  /** To the next check, or to the end of this one's patience. */
  timer: Timer | undefined = undefined;
  asking: Timer | undefined = undefined;

  constructor(endpoint: Endpoint) {
    this.endpoint = endpoint;
  }
}

const idle: Timer = { cancel() {} };
