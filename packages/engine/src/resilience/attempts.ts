import type { Abortable, Call } from "../call.ts";
import type { Cluster } from "../cluster/cluster.ts";
import type { Endpoint } from "../cluster/endpoint.ts";
import { blamesEndpoint } from "../cluster/observer.ts";
import type { Env, Timer } from "../env.ts";
import { MeshError } from "../errors.ts";
import { ownDelay } from "../own-delay.ts";
import type { HeaderList } from "../headers.ts";
import type { Flow, ResponseHead, Sink } from "../service.ts";
import { Attempt } from "../transport.ts";
import { askedMs, grpcStatusOf, isIdempotent, pushback } from "./retry-policy.ts";
import type { RetryPlan } from "./retry-policy.ts";

/** A refused answer is read to its end, to keep its connection, as long as it is small and quick. */
const DRAIN_BYTES = 64 * 1024;
const DRAIN_MS = 1_000;

/**
 * Sends a call to a cluster: picks an endpoint, sends an attempt, and repeats it where the route's policy, the request
 * and the budget allow (law 8). Stands inside the deadline and outside the per-try time-out; each attempt picks anew.
 * The layer above keeps the deadline and ends the call by an abort; here no attempt begins after it and no back-off
 * is longer than what is left of it.
 */
export function sendToCluster(call: Call, sink: Sink, cluster: Cluster, plan: RetryPlan | undefined, env: Env): void {
  call.record.cluster = cluster.config;
  if (call.aborted !== undefined) sink.onError(call.aborted);
  else new Try(call, sink, cluster, plan, env, undefined).start();
}

/**
 * - `waiting`: not sent; perhaps in back-off.
 * - `sent`: the transport has it, nothing came yet.
 * - `held`: a gRPC head came that may yet turn out to be a failure by its trailers; the caller has seen nothing.
 * - `passing`: the caller has the head. No retry any more.
 * - `draining`: this answer was refused, and another try has taken over.
 * - `over`: whatever still comes is nobody's business.
 */
type Phase = "waiting" | "sent" | "held" | "passing" | "draining" | "over";

/**
 * One try of a call, and the sink of its answer. A retry is a new Try, so a late event of an earlier one meets an
 * object that knows it is over; the chain of `#previous` is the memory of where the call has been.
 */
class Try implements Sink, Abortable {
  /** One function for all tries. */
  static readonly #tookTooLong = (tried: Try): void => tried.#onPerTryTimeout();
  readonly #call: Call;
  readonly #sink: Sink;
  readonly #cluster: Cluster;
  readonly #plan: RetryPlan | undefined;
  readonly #env: Env;
  readonly #previous: Try | undefined;
  /** 1 for the first. */
  readonly #number: number;
  /** Whether this try holds a place in the retry budget. */
  #holdsPlace: boolean;
  #phase: Phase = "waiting";
  #endpoint: Endpoint | undefined = undefined;
  #attempt: Attempt | undefined = undefined;
  #timer: Timer | undefined = undefined;
  #held: ResponseHead | undefined = undefined;
  #flow: Flow | undefined = undefined;
  #drained = 0;
  /** Only kept when the cluster observes; see `AttemptObserver.attemptEnded`. */
  #status = 0;
  #grpcStatus = -1;
  #headMs = -1;
  #askedMs = -1;
  #sentMs = -1;
  /** `clock.stalled()` when it was sent; only kept with a per-try time-out. */
  #stalledMs = 0;

  constructor(
    call: Call,
    sink: Sink,
    cluster: Cluster,
    plan: RetryPlan | undefined,
    env: Env,
    previous: Try | undefined,
  ) {
    this.#call = call;
    this.#sink = sink;
    this.#cluster = cluster;
    this.#plan = plan;
    this.#env = env;
    this.#previous = previous;
    this.#number = previous === undefined ? 1 : previous.#number + 1;
    // A retry that is itself repeated hands its place on.
    this.#holdsPlace = previous !== undefined && previous.#holdsPlace;
  }

  start(): void {
    const call = this.#call;
    this.#timer = undefined;
    const perTryMs = this.#plan?.policy.perTryTimeoutMs;
    // Read once: a clock costs more than most of what stands here.
    const timed = this.#cluster.timed;
    const nowMs = call.deadlineMs === Infinity && perTryMs === undefined && !timed ? 0 : this.#env.clock.now();
    if (nowMs >= call.deadlineMs)
      return this.#fail(new MeshError("TIMEOUT", "the deadline of the call had passed before it was sent"));
    const dropped = this.#cluster.drop();
    if (dropped !== undefined) return this.#fail(dropped);
    if (!this.#cluster.breaker.admitRequest())
      return this.#fail(
        new MeshError("OVERFLOW", `cluster ${this.#cluster.config.name} has as many requests under way as it may`),
      );
    const endpoint = (this.#cluster.wantsProbe && this.#mayTry() && this.#cluster.takeProbe()) || this.#pick();
    if (endpoint instanceof MeshError) {
      this.#cluster.breaker.requestEnded();
      return this.#fail(endpoint);
    }
    endpoint.load.active++;
    this.#endpoint = endpoint;
    const attempt = new Attempt(call, this.#cluster.config, endpoint.config, this.#number);
    this.#attempt = attempt;
    call.record.endpoint = endpoint.config;
    call.record.attempts++;
    call.active = this;
    this.#phase = "sent";
    this.#sentMs = nowMs;
    if (perTryMs !== undefined && nowMs + perTryMs < call.deadlineMs) {
      this.#stalledMs = this.#env.clock.stalled(nowMs);
      this.#timer = this.#env.clock.at(nowMs + perTryMs, Try.#tookTooLong, this);
    }
    try {
      call.transport.send(attempt, this);
    } catch (thrown) {
      // Against law 1; without this line its counters would leak.
      this.onError(MeshError.from(thrown));
    }
  }

  onHead(head: ResponseHead, flow: Flow): void {
    if (this.#phase !== "sent") return;
    if (this.#cluster.observes) this.#noteHead(head);
    const plan = this.#plan;
    if (plan !== undefined) {
      const grpc = this.#call.protocol === "grpc" ? grpcStatusOf(head.headers) : -1;
      if (grpc >= 0 ? plan.wantsGrpcStatus(grpc) : plan.wantsStatus(head.status)) {
        if (this.#retry(true, grpc >= 0, head.headers, undefined)) return this.#drain();
      } else if (grpc < 0 && this.#call.protocol === "grpc" && plan.watchesTrailers && this.#hasRetryLeft()) {
        this.#held = head;
        this.#flow = flow;
        this.#phase = "held";
        return;
      }
    }
    this.#pass(head, flow);
  }

  onData(chunk: Uint8Array): void {
    if (this.#phase === "held") this.#pass(this.#held!, this.#flow!);
    if (this.#phase === "passing") this.#sink.onData(chunk);
    else if (this.#phase === "draining" && (this.#drained += chunk.byteLength) > DRAIN_BYTES) this.#stopDraining();
  }

  onEnd(trailers: HeaderList | undefined): void {
    if (trailers !== undefined && this.#call.protocol === "grpc" && this.#cluster.observes) {
      this.#grpcStatus = grpcStatusOf(trailers);
      if (this.#grpcStatus > 0 && this.#cluster.timed) this.#askedMs = askedMs(trailers);
    }
    if (this.#phase === "held") {
      const status = grpcStatusOf(trailers);
      if (status > 0 && this.#plan!.wantsGrpcStatus(status) && this.#retry(true, true, trailers, undefined)) return;
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
    const wanted = this.#phase !== "passing" && this.#plan?.wantsError(error, this.#call.protocol === "grpc") === true;
    if (!wanted || !this.#retry(error.sent, false, undefined, error, blamesEndpoint(error))) this.#fail(error);
  }

  /** By the caller: whatever the try is doing ends, and the caller gets its own reason (law 5). */
  abort(reason: MeshError): void {
    if (this.#phase === "over" || this.#phase === "draining") return;
    // Of all aborts only the deadline blames the endpoint, and only while the answer had not begun.
    this.#stop(reason, reason.code === "TIMEOUT" && !reason.ownDelay && this.#phase !== "passing");
  }

  #stop(reason: MeshError, counts: boolean): void {
    this.#finish(reason, counts);
    this.#attempt?.abort(reason);
    this.#sink.onError(reason);
  }

  #fail(error: MeshError): void {
    this.#finish(error, blamesEndpoint(error));
    this.#sink.onError(error);
  }

  #pass(head: ResponseHead, flow: Flow): void {
    this.#phase = "passing";
    this.#held = undefined;
    this.#flow = undefined;
    // The per-try time-out guards the wait for an answer, not its length.
    this.#timer?.cancel();
    this.#timer = undefined;
    this.#sink.onHead(head, flow);
  }

  #pick(): Endpoint | MeshError {
    const { picker } = this.#cluster;
    let endpoint = picker.pick(this.#call);
    const policy = this.#plan?.policy;
    if (this.#previous === undefined || policy?.avoidPreviousHosts !== true) return endpoint;
    for (let selection = 1; selection <= policy.hostSelectionAttempts; selection++) {
      if (endpoint instanceof MeshError || !this.#wasAt(endpoint)) return endpoint;
      endpoint = picker.pick(this.#call, selection);
    }
    if (endpoint instanceof MeshError || !this.#wasAt(endpoint)) return endpoint;
    // Envoy goes back to the endpoint that failed; while another is there, that is a retry thrown away.
    return this.#cluster.untried((other) => this.#wasAt(other)) ?? endpoint;
  }

  #wasAt(endpoint: Endpoint): boolean {
    for (let each = this.#previous; each !== undefined; each = each.#previous)
      if (each.#endpoint === endpoint) return true;
    return false;
  }

  #hasRetryLeft(): boolean {
    const { body } = this.#call;
    return this.#number <= this.#plan!.policy.retries && body.isOpen?.() !== true && body.canReplay();
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
    const { record, body } = this.#call;
    const plan = this.#plan!;
    if (sent && !named && !isIdempotent(this.#call)) return false;
    // Retries add along a chain of calls, they do not multiply: this work is being repeated from further up already, and who
    // repeats it there has a budget and a policy of its own. What never left cost nobody anything, and may go elsewhere.
    if (sent && this.#call.callerAttempt > 1) return false;
    if (!body.canReplay()) return false;
    if (this.#number > plan.policy.retries) {
      record.flag = "URX";
      return false;
    }
    const asked = named ? pushback(headers) : undefined;
    if (asked === "never") return false;
    const delayMs = asked ?? plan.backoffMs(this.#number, this.#env.random());
    // Better the answer that is there than one that cannot come in time.
    if (delayMs >= this.#restMs()) return false;
    // The budget guards the upstream from load. A request that never left was none, and going to another endpoint is what a
    // dead one asks for: such retries are bounded by their number alone (gRFC A6 calls them transparent).
    if (sent && !this.#holdsPlace) {
      if (!this.#cluster.breaker.admitRetry()) {
        record.flag = "UO";
        return false;
      }
      this.#holdsPlace = true;
    }
    const next = new Try(this.#call, this.#sink, this.#cluster, plan, this.#env, this);
    this.#settle(error, counts);
    this.#phase = "over";
    this.#call.active = next;
    // Always by the clock, so that a transport that answers at once cannot make the stack grow.
    next.#timer = this.#env.clock.after(delayMs, () => next.start());
    return true;
  }

  #restMs(): number {
    const { deadlineMs } = this.#call;
    return deadlineMs === Infinity ? Infinity : deadlineMs - this.#env.clock.now();
  }

  #onPerTryTimeout(): void {
    const attempt = this.#attempt!;
    this.#timer = undefined;
    const limitMs = this.#plan!.policy.perTryTimeoutMs!;
    const own = ownDelay(this.#env.clock, this.#sentMs, this.#stalledMs, limitMs);
    const error = new MeshError(
      "PER_TRY_TIMEOUT",
      `no answer from ${attempt.endpoint.address} within ${limitMs} ms${own ? "; our own event loop was blocked meanwhile" : ""}`,
      { sent: attempt.sent, ownDelay: own },
    );
    const grpc = this.#call.protocol === "grpc";
    if (this.#plan!.wantsError(error, grpc) && this.#retry(error.sent, false, undefined, error, !own))
      attempt.abort(error);
    else this.#stop(error, !own);
  }

  #noteHead(head: ResponseHead): void {
    this.#status = head.status;
    if (this.#call.protocol === "grpc") this.#grpcStatus = grpcStatusOf(head.headers);
    if (this.#cluster.timed) {
      this.#headMs = this.#env.clock.now() - this.#sentMs;
      if (head.status >= 429 || this.#grpcStatus > 0) this.#askedMs = askedMs(head.headers);
    }
    this.#cluster.attemptAnswered(this.#endpoint!, this.#status, this.#grpcStatus, this.#headMs);
  }

  /** Whether an endpoint that may fail can be tried with this request: somebody else can answer it then. */
  #mayTry(): boolean {
    const plan = this.#plan;
    if (plan === undefined || !this.#hasRetryLeft()) return false;
    return isIdempotent(this.#call) || (this.#call.protocol === "grpc" && plan.watchesTrailers);
  }

  /** Reads what is left of a refused answer, within bounds: a connection is worth more than a few kilobytes. */
  #drain(): void {
    this.#phase = "draining";
    this.#timer = this.#env.clock.after(DRAIN_MS, () => this.#stopDraining());
  }

  #stopDraining(): void {
    this.#endDraining();
    this.#attempt!.abort(new MeshError("ABORTED", "the answer was refused in favour of a retry", { sent: true }));
  }

  #endDraining(): void {
    this.#timer?.cancel();
    this.#phase = "over";
  }

  /** The end of what the caller will ever see. */
  #finish(error: MeshError | undefined, counts: boolean): void {
    this.#settle(error, counts);
    if (this.#holdsPlace) this.#cluster.breaker.retryEnded();
    if (this.#call.active === this) this.#call.active = undefined;
    this.#phase = "over";
  }

  /** Gives back what this try holds. Every way out of `sent`, `held`, `passing` and `waiting` leads here, once. */
  #settle(error: MeshError | undefined, counts: boolean): void {
    this.#timer?.cancel();
    this.#timer = undefined;
    this.#held = undefined;
    this.#flow = undefined;
    if (this.#attempt === undefined) return;
    const cluster = this.#cluster;
    cluster.breaker.requestEnded();
    this.#endpoint!.load.active--;
    if (cluster.observes)
      cluster.attemptEnded(this.#endpoint!, this.#status, this.#grpcStatus, error, this.#headMs, counts, this.#askedMs);
  }
}
