import type { Alarm } from "../alarm.ts";
import type { Call } from "../call.ts";
import type { Cluster } from "../cluster/cluster.ts";
import type { Endpoint } from "../cluster/endpoint.ts";
import { blamesEndpoint } from "../cluster/observer.ts";
import type { Timer } from "../env.ts";
import { MeshError } from "../errors.ts";
import { IdleWatch } from "../idle-watch.ts";
import type { Watched } from "../idle-watch.ts";
import { isOwn, owedMs } from "../own-delay.ts";
import type { HeaderList } from "../headers.ts";
import type { Flow, ResponseHead, Sink } from "../service.ts";
import { Attempt } from "../transport.ts";
import { Observation } from "./observation.ts";
import { askedMs, pushback } from "./pause.ts";
import { Race } from "./race.ts";
import type { Runner } from "./race.ts";
import { grpcStatusOf } from "./retry-policy.ts";
import type { RetryPlan } from "./retry-policy.ts";
import { pickAgain } from "./selection.ts";
import type { Visit } from "./selection.ts";

/** A refused answer is read to its end, to keep its connection, as long as it is small and quick. */
const DRAIN_BYTES = 64 * 1024;
const DRAIN_MS = 1_000;

/**
 * Sends a call to a cluster: picks an endpoint, sends an attempt, and repeats it where the route's policy, the request
 * and the budget allow (law 8). Stands inside the deadline and outside the per-try time-out; each attempt picks anew.
 * The layer above keeps the deadline and ends the call by an abort; here no attempt begins after it and no back-off
 * is longer than what is left of it.
 */
export function sendToCluster(call: Call, sink: Sink, cluster: Cluster, plan: RetryPlan | undefined): void {
  call.record.cluster = cluster.config;
  if (call.aborted !== undefined) return sink.onError(call.aborted);
  const first = new Try(call, sink, cluster, plan, undefined);
  if (plan?.hedge !== undefined && mayHedge(call, plan)) first.enter(new Race(call));
  first.start();
}

/** What can be said before anything is sent; of the body it cannot be said yet. A retry of somebody's is not also doubled here. */
function mayHedge(call: Call, plan: RetryPlan): boolean {
  return call.callerAttempt === 1 && plan.takes(call) && plan.isIdempotent(call);
}

/**
 * - `waiting`: not sent; perhaps in back-off.
 * - `sent`: the transport has it, nothing came yet.
 * - `held`: a gRPC head came that may yet turn out to be a failure by its trailers; the caller has seen nothing.
 * - `passing`: the caller has the head. No retry any more.
 * - `draining`: this answer was refused, and another try has taken over or still runs beside it.
 * - `over`: whatever still comes is nobody's business.
 */
type Phase = "waiting" | "sent" | "held" | "passing" | "draining" | "over";

/**
 * One try of a call, and the sink of its answer. A retry is a new Try, so a late event of an earlier one meets an
 * object that knows it is over; the chain of `previous` is the memory of where the call has been. Each has one successor
 * at most: because it failed, or, in a hedged call, because it was slow, and then both run on.
 *
 * It is the attempt that the transport is given and the alarm of whatever it waits for, too: all of them live as long.
 */
class Try extends Attempt implements Sink, Runner, Alarm, Visit, Watched {
  nextAlarm: Alarm | undefined = undefined;
  previousAlarm: Alarm | undefined = undefined;
  dueTick = 0;
  place: Endpoint | undefined = undefined;
  readonly previous: Try | undefined;
  readonly #sink: Sink;
  readonly #members: Cluster;
  readonly #plan: RetryPlan | undefined;
  /** Whether this try holds a place in the retry budget. */
  #holdsPlace = false;
  /** The others that run beside it, in a hedged call that nobody has won yet. */
  #race: Race | undefined = undefined;
  /** Its successor is there already. */
  #followed = false;
  /** Out of its per-try time and still running; see {@link HedgePolicy.onPerTryTimeout}. */
  #overdue = false;
  #phase: Phase = "waiting";
  #held: ResponseHead | undefined = undefined;
  #flow: Flow | undefined = undefined;
  #drained = 0;
  #seen: Observation | undefined = undefined;
  /** When it was sent, and `clock.stalled()` then; only kept with a per-try time-out. Whole milliseconds: a fraction is an object. */
  #sentMs = 0;
  #stalledMs = 0;
  /** Where an attempt must not be silent for long. */
  #idle: IdleWatch | undefined = undefined;

  constructor(call: Call, sink: Sink, cluster: Cluster, plan: RetryPlan | undefined, previous: Try | undefined) {
    super(call, cluster.config, undefined, previous === undefined ? 1 : previous.number + 1);
    this.previous = previous;
    this.#sink = sink;
    this.#members = cluster;
    this.#plan = plan;
  }

  enter(race: Race): void {
    this.#race = race;
    race.enter(this);
  }

  start(): void {
    const { call } = this;
    const cluster = this.#members;
    const { clock } = cluster.env;
    const perTryMs = this.#plan?.policy.perTryTimeoutMs;
    // Read once: a clock costs more than most of what stands here.
    const timed = cluster.timed || this.#plan?.hedge !== undefined;
    const nowMs = call.deadlineMs === Infinity && perTryMs === undefined && !timed ? 0 : clock.now();
    if (nowMs >= call.deadlineMs)
      return this.#fail(new MeshError("TIMEOUT", "the deadline of the call had passed before it was sent"));
    const dropped = cluster.drop();
    if (dropped !== undefined) return this.#fail(dropped);
    if (!cluster.breaker.admitRequest())
      return this.#fail(
        new MeshError("OVERFLOW", `cluster ${cluster.config.name} has as many requests under way as it may`),
      );
    const place = (cluster.wantsProbe && this.#mayTry() && cluster.takeProbe()) || this.#pick();
    if (place instanceof MeshError) {
      cluster.breaker.requestEnded();
      return this.#fail(place);
    }
    place.load.active++;
    this.place = place;
    this.endpoint = place.config;
    call.record.endpoint = place.config;
    call.record.attempts++;
    if (this.#race === undefined) call.active = this;
    else this.#race.wait(this.#slowTimer());
    this.#phase = "sent";
    if (timed || cluster.observes) this.#seen = new Observation(nowMs);
    if (perTryMs !== undefined && nowMs + perTryMs < call.deadlineMs) {
      this.#sentMs = Math.floor(nowMs);
      this.#stalledMs = Math.ceil(clock.stalled(nowMs));
      clock.set(this, nowMs + perTryMs);
    }
    const idleMs = this.#plan?.policy.perTryIdleTimeoutMs;
    if (idleMs !== undefined) this.#idle = new IdleWatch(call.body, idleMs, clock, this);
    try {
      call.transport.send(this, this);
    } catch (thrown) {
      // Against law 1; without this line its counters would leak.
      this.onError(MeshError.from(thrown));
    }
  }

  ring(): void {
    if (this.#phase === "waiting") this.start();
    else if (this.#phase === "draining") this.#stopDraining();
    else this.#onPerTryTimeout();
  }

  onHead(head: ResponseHead, flow: Flow): void {
    if (this.#phase !== "sent") return;
    this.#idle?.touch();
    if (this.#members.observes) this.#noteHead(head);
    const plan = this.#plan;
    if (plan !== undefined) {
      const grpc = this.call.protocol === "grpc" ? grpcStatusOf(head.headers) : -1;
      if (plan.wantsAnswer(head, grpc)) {
        if (this.#retry(true, grpc >= 0, head.headers, undefined) || this.#yields(undefined, true))
          return this.#drain();
      } else if (grpc < 0 && this.call.protocol === "grpc" && plan.watchesTrailers && this.#hasRetryLeft()) {
        this.#held = head;
        this.#flow = flow;
        this.#phase = "held";
        return;
      }
    }
    this.#pass(head, flow);
  }

  onData(chunk: Uint8Array): void {
    this.#idle?.touch();
    if (this.#phase === "held") this.#pass(this.#held!, this.#flow!);
    if (this.#phase === "passing") this.#sink.onData(chunk);
    else if (this.#phase === "draining" && (this.#drained += chunk.byteLength) > DRAIN_BYTES) this.#stopDraining();
  }

  onEnd(trailers: HeaderList | undefined): void {
    if (trailers !== undefined && this.call.protocol === "grpc" && this.#members.observes) this.#noteTrailers(trailers);
    if (this.#phase === "held") {
      const status = grpcStatusOf(trailers);
      if (status > 0 && this.#plan!.wantsGrpcStatus(status))
        if (this.#retry(true, true, trailers, undefined) || this.#yields(undefined, true)) return;
      this.#pass(this.#held!, this.#flow!);
    }
    if (this.#phase === "passing") {
      this.#finish(undefined, true);
      this.#sink.onEnd(trailers);
    } else if (this.#phase === "draining") this.#endDraining();
    else if (this.#phase === "sent")
      this.onError(new MeshError("PROTOCOL_ERROR", "an answer without a head", { sent: true }));
  }

  onError(error: MeshError): void {
    if (this.#phase === "draining") return this.#endDraining();
    if (this.#phase === "over" || this.#phase === "waiting") return;
    const wanted = this.#phase !== "passing" && this.#plan?.wantsError(error, this.call.protocol === "grpc") === true;
    if (!wanted || !this.#retry(error.sent, false, undefined, error, blamesEndpoint(error))) this.#fail(error);
  }

  /** By the caller: whatever the try is doing ends, and the caller gets its own reason (law 5). */
  override abort(reason: MeshError): void {
    if (this.#phase !== "over" && this.#phase !== "draining") this.#stop(reason, this.#blames(reason));
  }

  lose(reason: MeshError): void {
    if (this.#phase === "over" || this.#phase === "draining") return;
    this.#noteTime();
    this.#finish(reason, this.#blames(reason));
    super.abort(reason);
  }

  /** Of all ends from above only the deadline blames the endpoint, while there was no answer; so does a per-try time-out. */
  #blames(reason: MeshError): boolean {
    return this.#overdue || (reason.code === "TIMEOUT" && !reason.ownDelay && this.#phase !== "passing");
  }

  #stop(reason: MeshError, counts: boolean): void {
    const silent = this.#yields(reason, counts);
    if (!silent) this.#finish(reason, counts);
    super.abort(reason);
    if (!silent) this.#sink.onError(reason);
  }

  #fail(error: MeshError): void {
    const counts = blamesEndpoint(error);
    if (this.#yields(error, counts)) return;
    this.#finish(error, counts);
    this.#sink.onError(error);
  }

  /** Ends without a word where others still run for the same call. */
  #yields(error: MeshError | undefined, counts: boolean): boolean {
    if (this.#race?.hasOthers(this) !== true) return false;
    this.#finish(error, counts);
    return true;
  }

  #pass(head: ResponseHead, flow: Flow): void {
    if (this.#plan?.hedge !== undefined) this.#noteTime();
    if (this.#race !== undefined) this.#win(this.#race);
    this.#phase = "passing";
    this.#held = undefined;
    this.#flow = undefined;
    // The per-try time-out guards the wait for an answer, not its length; its silence is guarded on, as far as it can be seen.
    this.#members.env.clock.unset(this);
    if (head.status === 101) this.#idle?.stop();
    this.#sink.onHead(head, flow);
  }

  /** What was noted of the call by tries that began later is the winner's again. */
  #win(race: Race): void {
    this.#race = undefined;
    race.win(this);
    const { record } = this.call;
    const { endpoint, peer } = this;
    record.endpoint = endpoint;
    if (peer === undefined) return;
    record.mtls = peer.mtls;
    record.peerPrincipal = peer.spiffeId;
  }

  #pick(): Endpoint | MeshError {
    const { call, previous } = this;
    if (previous === undefined) return this.#members.picker.pick(call);
    return pickAgain(this.#members, call, this.#plan!, previous, this.#race !== undefined);
  }

  /** Whether what may have arrived can be repeated at all; see {@link #retry}. */
  #hasRetryLeft(): boolean {
    const { body } = this.call;
    return this.total <= this.#plan!.policy.retries && body.isOpen?.() !== true && body.canReplay();
  }

  /**
   * Hands over to another try if law 8, the policy's number, the deadline and the budget allow. `sent`: whether the
   * application may have seen the request. `named`: the failure is a gRPC status that the policy names; that is the
   * owner's word that the status is safe to repeat (gRFC A6), which no HTTP method could say for gRPC's POST.
   */
  #retry(
    sent: boolean,
    named: boolean,
    headers: HeaderList | undefined,
    error: MeshError | undefined,
    counts = true,
  ): boolean {
    const call = this.call;
    const plan = this.#plan!;
    if (this.#followed || !plan.takes(call)) return false;
    if (sent && !named && !plan.isIdempotent(call)) return false;
    if (!call.body.canReplay()) return false;
    // Retries do not multiply along a chain of calls: those made further up, on whose behalf this one is, count here too. What
    // never left cost nobody anything, and may go elsewhere.
    if ((sent ? this.total : this.number) > plan.policy.retries) return this.#refuse("URX");
    const { random, clock } = this.#members.env;
    const asked = named ? pushback(headers) : headers && plan.pauseMs(headers, clock, random());
    if (asked === "never") return false;
    const delayMs = asked ?? plan.backoffMs(this.number, random());
    // Better the answer that is there than one that cannot come in time.
    if (delayMs >= this.#restMs()) return false;
    // The budget guards the upstream from load. A request that never left was none, and going to another endpoint is what a
    // dead one asks for: such retries are bounded by their number alone (gRFC A6 calls them transparent).
    if (sent && !this.#holdsPlace) {
      if (!this.#members.breaker.admitRetry()) return this.#refuse("UO");
      this.#holdsPlace = true;
    }
    const next = this.#successor();
    // A retry that is itself repeated hands its place on.
    next.#holdsPlace = this.#holdsPlace;
    this.#holdsPlace = false;
    if (this.#race === undefined) call.active = next;
    this.#finish(error, counts);
    // Always by the clock, so that a transport that answers at once cannot make the stack grow.
    clock.set(next, clock.now() + delayMs);
    return true;
  }

  #refuse(flag: "URX" | "UO"): false {
    // Whoever still runs may yet bring an answer that needs no excuse.
    if (this.#race?.hasOthers(this) !== true) this.call.record.flag = flag;
    return false;
  }

  #successor(): Try {
    this.#followed = true;
    const next = new Try(this.call, this.#sink, this.#members, this.#plan, this);
    if (this.#race !== undefined) next.enter(this.#race);
    return next;
  }

  /** When the newest try of a hedged call counts as slow; with Envoy's kind of hedging its per-try time-out says so. */
  #slowTimer(): Timer | undefined {
    const { delayMs, percentile } = this.#plan!.hedge!;
    const usual = percentile === undefined ? undefined : this.#members.answerTimes.quantile(percentile);
    const afterMs = usual ?? delayMs;
    return afterMs === undefined ? undefined : this.#members.env.clock.after(afterMs, () => this.#onSlow());
  }

  /** Another try joins this one, unless the answer is here already, or the policy's number or the budget does not allow it. */
  #onSlow(): void {
    if (this.#phase !== "sent" || this.#followed || !this.#hasRetryLeft() || this.#restMs() <= 0) return;
    if (!this.#members.breaker.admitRetry()) return;
    const next = this.#successor();
    next.#holdsPlace = true;
    next.start();
  }

  /** One that lost was at least so slow. */
  #noteTime(): void {
    if (this.#plan?.hedge?.percentile !== undefined && this.#seen !== undefined)
      this.#members.answerTimes.add(this.#members.env.clock.now() - this.#seen.sentMs);
  }

  #restMs(): number {
    const { deadlineMs } = this.call;
    return deadlineMs === Infinity ? Infinity : deadlineMs - this.#members.env.clock.now();
  }

  #onPerTryTimeout(): void {
    const { clock } = this.#members.env;
    const limitMs = this.#plan!.policy.perTryTimeoutMs!;
    const owed = owedMs(clock, this.#sentMs, this.#stalledMs, limitMs);
    // The time that our own event loop was blocked is given back. To give up instead would cut a connection for nothing, and the
    // handshake that replaces it is what blocks a starved process next.
    if (owed > 0 && owed < this.#restMs()) return clock.set(this, clock.now() + owed);
    const own = isOwn(owed, limitMs);
    const error = new MeshError(
      "PER_TRY_TIMEOUT",
      `no answer from ${this.endpoint.address} within ${limitMs} ms${own ? "; our own event loop was blocked meanwhile" : ""}`,
      { sent: this.sent, ownDelay: own },
    );
    this.#runOut(error);
  }

  /** Its own silence, in the answer too: what came of that so far is cut. */
  fallSilent(): void {
    // Connecting has a time-out of its own.
    if (!this.sent) return this.#idle!.again();
    const error = new MeshError(
      "PER_TRY_TIMEOUT",
      `${this.endpoint.address} was silent for ${this.#plan!.policy.perTryIdleTimeoutMs} ms`,
      { sent: true },
    );
    if (this.#phase === "passing") this.#stop(error, true);
    else this.#runOut(error);
  }

  /** Out of time before there was an answer: another try, beside this one or after it, or the end. */
  #runOut(error: MeshError): void {
    const own = error.ownDelay;
    if (this.#race !== undefined && this.#plan!.hedge!.onPerTryTimeout) {
      this.#overdue = !own;
      return this.#onSlow();
    }
    const grpc = this.call.protocol === "grpc";
    if (this.#plan!.wantsError(error, grpc) && this.#retry(error.sent, false, undefined, error, !own))
      super.abort(error);
    else this.#stop(error, !own);
  }

  #noteHead(head: ResponseHead): void {
    const seen = this.#seen!;
    const cluster = this.#members;
    seen.status = head.status;
    if (this.call.protocol === "grpc") seen.grpcStatus = grpcStatusOf(head.headers);
    if (cluster.timed) {
      seen.headMs = cluster.env.clock.now() - seen.sentMs;
      if (head.status >= 429 || seen.grpcStatus > 0) seen.askedMs = askedMs(head.headers);
    }
    cluster.attemptAnswered(this.place!, seen.status, seen.grpcStatus, seen.headMs);
  }

  #noteTrailers(trailers: HeaderList): void {
    const seen = this.#seen;
    if (seen === undefined) return;
    seen.grpcStatus = grpcStatusOf(trailers);
    if (seen.grpcStatus > 0 && this.#members.timed) seen.askedMs = askedMs(trailers);
  }

  /** Whether an endpoint that may fail can be tried with this request: somebody else can answer it then. */
  #mayTry(): boolean {
    const plan = this.#plan;
    if (plan === undefined || !this.#hasRetryLeft() || !plan.takes(this.call)) return false;
    return plan.isIdempotent(this.call) || (this.call.protocol === "grpc" && plan.watchesTrailers);
  }

  /** Reads what is left of a refused answer, within bounds: a connection is worth more than a few kilobytes. */
  #drain(): void {
    this.#phase = "draining";
    const { clock } = this.#members.env;
    clock.set(this, clock.now() + DRAIN_MS);
  }

  #stopDraining(): void {
    this.#endDraining();
    super.abort(new MeshError("ABORTED", "the answer was refused in favour of a retry", { sent: true }));
  }

  #endDraining(): void {
    this.#members.env.clock.unset(this);
    this.#phase = "over";
  }

  /** The end of this try: of what the caller will ever see, or of its part in it. */
  #finish(error: MeshError | undefined, counts: boolean): void {
    this.#settle(error, counts);
    if (this.#holdsPlace) this.#members.breaker.retryEnded();
    if (this.call.active === this) this.call.active = undefined;
    this.#race?.leave(this);
    this.#phase = "over";
  }

  /** Gives back what this try holds. Every way out of `sent`, `held`, `passing` and `waiting` leads here, once. */
  #settle(error: MeshError | undefined, counts: boolean): void {
    const cluster = this.#members;
    const { place } = this;
    cluster.env.clock.unset(this);
    this.#idle?.stop();
    this.#held = undefined;
    this.#flow = undefined;
    if (place === undefined) return;
    cluster.breaker.requestEnded();
    place.load.active--;
    if (!cluster.observes) return;
    const { status, grpcStatus, headMs, askedMs: pauseMs } = this.#seen!;
    cluster.attemptEnded(place, status, grpcStatus, error, headMs, counts, pauseMs);
  }
}
