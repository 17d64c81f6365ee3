import type { Endpoint } from "../cluster/endpoint.ts";
import type { Membership } from "../cluster/member.ts";
import type { AttemptObserver } from "../cluster/observer.ts";
import type { OutlierConfig } from "../config.ts";
import type { Env, Timer } from "../env.ts";
import type { MeshError } from "../errors.ts";
import { httpStatusOf } from "../policy/grpc-status.ts";
import { finish, inParts, someOf } from "../slices.ts";
import type { Sliced } from "../slices.ts";
import { BARRED } from "../cluster/endpoint-load.ts";
import { judgeRates, judgesRates } from "./outlier-rates.ts";
import { OutlierRecord } from "./outlier-record.ts";

/**
 * Outlier detection of one cluster, with the arithmetic of Envoy: counts failures in a row as attempts end, judges rates
 * in a sweep every `interval`, and lets endpoints come back in the sweep after their time is over. It belongs to keyed
 * state, so that a change of configuration or endpoints neither pardons nor condemns anybody.
 *
 * Two things differ. An answer counts once, at its end, with what its trailers say; and before an endpoint comes back
 * it is tried by one request that may be repeated elsewhere (`probing`). Who finds no such request in an interval comes
 * back as in Envoy.
 *
 * The timer runs only while a sweep has something to do, in the rhythm that it would have had all along. A sweep over thousands is
 * made a part at a time.
 */
export class OutlierDetector implements AttemptObserver {
  readonly timed = false;
  readonly #cluster: string;
  readonly #shared: Membership;
  readonly #env: Env;
  #config: OutlierConfig | undefined = undefined;
  #endpoints: readonly (readonly Endpoint[])[] = [];
  #rates = false;
  #sweptAtMs: number;
  #timer: Timer | undefined = undefined;
  /** A sweep that is under way, and the timer of its next part. */
  #sweeping: Sliced<void> | undefined = undefined;
  #next: Timer | undefined = undefined;
  /** How many are out; `undefined`: they are to be counted. */
  #out: number | undefined = undefined;
  /** Whose time is over and who were not tried yet. */
  #waiting: Endpoint[] = [];

  constructor(cluster: string, shared: Membership, env: Env) {
    this.#cluster = cluster;
    this.#shared = shared;
    this.#env = env;
    this.#sweptAtMs = env.clock.now();
  }

  /** Called when the newest member changed: what it says holds from now on. */
  adopt(): void {
    const newest = this.#shared.members.at(-1);
    const config = newest?.config.outlier;
    const before = this.#config;
    this.#config = config;
    this.#endpoints = newest?.endpoints ?? [];
    this.#out = undefined;
    this.#rates = config !== undefined && judgesRates(config);
    if (config === undefined) {
      this.#next?.cancel();
      this.#sweeping = this.#next = undefined;
      this.#pardonAll();
    }
    if (this.#timer !== undefined && before?.intervalMs !== config?.intervalMs) {
      this.#timer.cancel();
      this.#timer = undefined;
      if (config !== undefined) this.#arm();
    }
    this.#findWaiting();
  }

  attemptEnded(
    endpoint: Endpoint,
    status: number,
    grpcStatus: number,
    error: MeshError | undefined,
    _headMs: number,
    counts: boolean,
  ): void {
    const config = this.#config;
    if (config === undefined) return;
    const record = (endpoint.load.outlier ??= new OutlierRecord());
    const local = error !== undefined && error.code !== "PROTOCOL_ERROR";
    const code = error === undefined ? answerCode(config, status, grpcStatus) : error.status;
    if (record.probe === endpoint) this.#probeEnded(endpoint, record, counts, local || code >= 500);
    if (!counts) return;
    if (config.splitLocalOrigin) this.#onLocal(endpoint, record, config, local);
    if (!local || !config.splitLocalOrigin) this.#onCode(endpoint, record, config, code);
    if (this.#rates && this.#timer === undefined) this.#arm();
  }

  /** A stream may go on for hours: for a probe its head is answer enough. */
  attemptAnswered(endpoint: Endpoint, status: number, grpcStatus: number): void {
    const record = endpoint.known.outlier;
    if (record === undefined || record.probe !== endpoint || this.#config === undefined) return;
    this.#probeEnded(endpoint, record, true, answerCode(this.#config, status, grpcStatus) >= 500);
  }

  /** An endpoint whose time is over, for a request that may be repeated elsewhere; its attempt must end here. */
  takeProbe(): Endpoint | undefined {
    for (;;) {
      const endpoint = this.#waiting.shift();
      this.#shared.probes = this.#waiting.length;
      if (endpoint === undefined) return undefined;
      const { load } = endpoint;
      const record = load.outlier!;
      // Another reason against it, or whatever befell it since the last sweep.
      if (record.halfOpenAtMs === undefined || record.probe !== undefined) continue;
      if (load.barred !== BARRED.ejected || endpoint.config.health !== "healthy") continue;
      return (record.probe = { config: endpoint.config, known: load, load });
    }
  }

  /** An active health check of this endpoint has succeeded. */
  checkSucceeded(endpoint: Endpoint): void {
    const record = endpoint.known.outlier;
    if (record?.ejected !== true || this.#config?.unejectOnHealthCheck !== true) return;
    if ((endpoint.known.barred & BARRED.checkFailed) === 0) this.#return(endpoint, record);
  }

  #onLocal(endpoint: Endpoint, record: OutlierRecord, config: OutlierConfig, failed: boolean): void {
    if (this.#rates) record.local.add(!failed);
    if (!failed) record.consecutiveLocal = 0;
    else if (++record.consecutiveLocal === config.consecutiveLocalOrigin) {
      const enforcing = config.enforcingConsecutiveLocalOrigin;
      if (this.#onRun(endpoint, enforcing, `${config.consecutiveLocalOrigin} failures of our own side in a row`))
        record.consecutiveLocal = 0;
    }
  }

  #onCode(endpoint: Endpoint, record: OutlierRecord, config: OutlierConfig, code: number): void {
    if (this.#rates) record.answers.add(code < 500);
    if (code < 500) {
      record.consecutive5xx = record.consecutiveGateway = 0;
      return;
    }
    if (code < 502 || code > 504) record.consecutiveGateway = 0;
    else if (++record.consecutiveGateway === config.consecutiveGatewayFailure) {
      const enforcing = config.enforcingConsecutiveGatewayFailure;
      if (this.#onRun(endpoint, enforcing, `${config.consecutiveGatewayFailure} gateway failures in a row`))
        record.consecutiveGateway = 0;
    }
    if (++record.consecutive5xx === config.consecutive5xx) {
      const enforcing = config.enforcingConsecutive5xx;
      if (this.#onRun(endpoint, enforcing, `${config.consecutive5xx} failures in a row`)) record.consecutive5xx = 0;
    }
  }

  /** Whether the run is dealt with, and begins anew; one that is out already goes on until it comes back. */
  #onRun(endpoint: Endpoint, enforcing: number, cause: string): boolean {
    if (endpoint.load.outlier!.ejected) return false;
    this.#eject(endpoint, enforcing, cause, false);
    return true;
  }

  /** If the share that may be out allows it, and the die that `enforcing` is. `present`: it is known to be of the cluster still. */
  #eject(endpoint: Endpoint, enforcing: number, cause: string, present: boolean): void {
    const config = this.#config!;
    const { load } = endpoint;
    if (load.outlier!.ejected) return;
    let all = 0;
    for (const priority of this.#endpoints) all += priority.length;
    const out = (this.#out ??= countOut(this.#endpoints));
    const may = (100 * (out + 1)) / all <= config.maxEjectionPercent || (config.alwaysEjectOne && out === 0);
    // It may be gone from the cluster while its attempt was under way.
    if (!may || !(present || this.#endpoints.some((priority) => priority.some(({ known }) => known === load)))) return;
    if (this.#env.random() * 100 < enforcing) this.#expel(endpoint, config, cause);
  }

  #expel(endpoint: Endpoint, config: OutlierConfig, cause: string): void {
    const record = endpoint.load.outlier!;
    if (!record.ejected && this.#out !== undefined) this.#out++;
    record.ejected = true;
    record.halfOpenAtMs = undefined;
    record.ejectedAtMs = this.#env.clock.now();
    record.jitterMs = Math.floor(this.#env.random() * (config.maxEjectionJitterMs + 1));
    if (record.multiplier * config.baseEjectionMs < config.maxEjectionMs + config.baseEjectionMs) record.multiplier++;
    endpoint.load.barred |= BARRED.ejected;
    this.#shared.healthVersion++;
    this.#env.log.warn("an endpoint is ejected", {
      cluster: this.#cluster,
      endpoint: endpoint.config.address,
      cause,
      forMs: ejectionMs(record, config),
    });
    this.#arm();
  }

  #return(endpoint: Endpoint, record: OutlierRecord): void {
    // It may be of the cluster no more.
    this.#out = undefined;
    record.ejected = false;
    record.halfOpenAtMs = undefined;
    record.probe = undefined;
    record.returnedAtMs = this.#env.clock.now();
    // A run that was nearly long enough must not send it away again at once.
    record.consecutive5xx = record.consecutiveGateway = record.consecutiveLocal = 0;
    endpoint.load.barred &= ~BARRED.ejected;
    this.#shared.healthVersion++;
    this.#env.log.info("an ejected endpoint is back", {
      cluster: this.#cluster,
      endpoint: endpoint.config.address,
    });
  }

  #probeEnded(endpoint: Endpoint, record: OutlierRecord, counts: boolean, failed: boolean): void {
    record.probe = undefined;
    if (!counts) this.#shared.probes = this.#waiting.push(endpoint);
    else if (!failed) this.#return(endpoint, record);
    else this.#expel(endpoint, this.#config!, "the request that tried it failed");
  }

  #sweep(): void {
    const config = this.#config!;
    this.#timer = undefined;
    // So late that the next one is due: only where the event loop was blocked.
    if (this.#sweeping !== undefined) finish(this.#sweeping);
    this.#sweeping = this.#swept(config, (this.#sweptAtMs = this.#beat(config)));
    this.#part();
  }

  #part(): void {
    this.#next?.cancel();
    const { clock } = this.#env;
    const { done } = someOf(this.#sweeping!, () => clock.now());
    this.#next = done === true ? undefined : clock.after(0, () => this.#part());
    if (done === true) this.#sweeping = undefined;
  }

  *#swept(config: OutlierConfig, nowMs: number): Sliced<void> {
    const endpoints: Endpoint[] = [];
    let all = 0;
    // While these are the newest, nobody of them has left.
    const members = this.#endpoints;
    for (const priority of members) {
      all += priority.length;
      yield* inParts(priority.length, (from, to) => {
        for (let at = from; at < to; at++) {
          const each = priority[at]!;
          const record = each.known.outlier;
          if (record === undefined) continue;
          endpoints.push(each);
          if (record.ejected && isOver(record, config, nowMs)) this.#onOver(each, record, config, nowMs);
          record.answers.turn();
          record.local.turn();
        }
      });
    }
    if (this.#rates) {
      const eject = (endpoint: Endpoint, enforcing: number, cause: string): void =>
        this.#eject(endpoint, enforcing, cause, this.#endpoints === members);
      yield* judgeRates(config, endpoints, all, "answers", eject);
      yield* judgeRates(config, endpoints, all, "local", eject);
    }
    let busy = false;
    yield* inParts(endpoints.length, (from, to) => {
      for (let at = from; at < to; at++) {
        const record = endpoints[at]!.known.outlier;
        if (record === undefined) continue;
        const { returnedAtMs } = record;
        if (!record.ejected && record.multiplier > 0 && nowMs - (returnedAtMs ?? nowMs) >= config.intervalMs)
          record.multiplier--;
        busy ||= record.ejected || record.multiplier > 0 || record.answers.lastTotal + record.local.lastTotal > 0;
      }
    });
    this.#findWaiting();
    if (busy) this.#arm();
  }

  #onOver(endpoint: Endpoint, record: OutlierRecord, config: OutlierConfig, nowMs: number): void {
    if (!config.probing) return this.#return(endpoint, record);
    record.halfOpenAtMs ??= nowMs;
    // Nobody came to try it; or the one who did waits for an answer for ever.
    const patienceMs = record.probe === undefined ? config.intervalMs : config.maxEjectionMs;
    if (nowMs - record.halfOpenAtMs >= patienceMs) this.#return(endpoint, record);
  }

  /** Those of a priority below the one that serves are not tried: a request would go further away than it must. */
  #findWaiting(): void {
    this.#waiting = [];
    for (const priority of this.#endpoints) {
      let serves = false;
      for (const each of priority) {
        const { barred, outlier } = each.known;
        serves ||= barred === 0 && each.config.health === "healthy";
        if (outlier?.halfOpenAtMs !== undefined && outlier.probe === undefined) this.#waiting.push(each);
      }
      if (serves) break;
    }
    this.#shared.probes = this.#waiting.length;
  }

  /** Without detection nobody is out. */
  #pardonAll(): void {
    for (const member of this.#shared.members)
      for (const priority of member.endpoints)
        for (const each of priority) {
          if (each.known.outlier === undefined) continue;
          const { load } = each;
          load.outlier = undefined;
          load.barred &= ~BARRED.ejected;
        }
    this.#shared.healthVersion++;
  }

  #arm(): void {
    if (this.#timer !== undefined) return;
    const config = this.#config!;
    const { clock } = this.#env;
    this.#timer = clock.after(this.#beat(config) + config.intervalMs - clock.now(), () => this.#sweep());
  }

  /** The last moment at which a sweep was due, whether there was one or not: the rhythm does not drift. */
  #beat({ intervalMs }: OutlierConfig): number {
    const sinceMs = this.#env.clock.now() - this.#sweptAtMs;
    return this.#sweptAtMs + Math.floor(sinceMs / intervalMs) * intervalMs;
  }
}

function countOut(endpoints: readonly (readonly Endpoint[])[]): number {
  let out = 0;
  for (const priority of endpoints) for (const { known } of priority) if (known.outlier?.ejected === true) out++;
  return out;
}

/** What an answer counts as: a gRPC status by Envoy's table, and what the configuration calls a failure as a 5xx. */
function answerCode({ errorStatuses }: OutlierConfig, status: number, grpcStatus: number): number {
  const code = grpcStatus >= 0 ? httpStatusOf(grpcStatus) : status;
  if (errorStatuses === undefined) return code;
  return errorStatuses.some(({ from, to }) => code >= from && code <= to) ? Math.max(500, code) : 200;
}

function ejectionMs(record: OutlierRecord, config: OutlierConfig): number {
  return Math.min(config.baseEjectionMs * record.multiplier, config.maxEjectionMs) + record.jitterMs;
}

function isOver(record: OutlierRecord, config: OutlierConfig, nowMs: number): boolean {
  return ejectionMs(record, config) <= nowMs - record.ejectedAtMs;
}
