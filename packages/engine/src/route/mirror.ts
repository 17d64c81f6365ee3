import { Call, type CopyBudget, noBody } from "../call.ts";
import type { MirrorPolicy } from "../config-mutation.ts";
import type { ClusterInfo } from "../config.ts";
import type { Env } from "../env.ts";
import { MeshError } from "../errors.ts";
import { roll } from "../match/route-match.ts";
import type { Layer, ResponseHead, Service, Sink } from "../service.ts";
import type { MirrorLoad } from "../state.ts";
import type { CallCounter } from "../telemetry/observe.ts";
import { deadlineLayer } from "./deadline.ts";
import type { ForwardTarget } from "./forward-target.ts";
import { setAuthority } from "./rewrite.ts";

/**
 * What copies may cost this process, all routes together. Whatever goes beyond is not queued but dropped, and counted: a copy
 * that comes late says nothing that is worth the memory.
 */
const limits = {
  /** Copies under way. */
  copies: 100,
  /** Of one body, held for a copy that is slower than the call itself. */
  bodyBytes: 1_048_576,
  /** Of all bodies. */
  bytes: 16_777_216,
  /** An answer that is longer is cut: its status is known, and nobody reads it. */
  answerBytes: 65_536,
  /** A copy ends with the deadline of its call, and by then at the latest. Envoy: the route's time-out. */
  timeoutMs: 15_000,
} as const;

export interface MirrorState {
  readonly load: MirrorLoad;
  /** A copy holds the snapshot of its call, as a call does. */
  readonly counter: CallCounter;
}

interface Deps {
  readonly env: Env;
  readonly mirrors?: MirrorState | undefined;
  cluster(name: string): ForwardTarget | undefined;
}

interface Target {
  readonly policy: MirrorPolicy;
  readonly config: ClusterInfo;
  /** `undefined`: there is no such cluster. */
  readonly service: Service | undefined;
}

/**
 * Sends copies of calls to other clusters. It stands below the deadline and the changes of the route, so that a copy is of what is sent,
 * and above the attempts: a call has one copy, however often it is repeated. A copy is made before the call goes on and starts after it;
 * the call's own answer passes untouched, and nothing that happens to a copy reaches it.
 */
export function mirrorLayer(policies: readonly MirrorPolicy[] | undefined, deps: Deps): Layer | undefined {
  const { env, mirrors: state } = deps;
  const wanted = policies?.filter(({ perMillion }) => perMillion > 0) ?? [];
  if (wanted.length === 0 || state === undefined) return undefined;
  const bounded = deadlineLayer(limits.timeoutMs, env);
  const targets = wanted.map((policy): Target => {
    const target = deps.cluster(policy.cluster);
    // One attempt: a copy is a sample, not a duty.
    const service = target && bounded(target.service(undefined));
    return { policy, config: target?.config ?? { name: policy.cluster, service: undefined }, service };
  });
  return (inner) => (call, sink) => {
    let last: Mirrored | undefined;
    for (const target of targets)
      if (roll(target.policy.perMillion, env.random)) last = copyOf(call, target, state, env, last) ?? last;
    inner(call, sink);
    for (let each = last; each !== undefined; each = each.previous) each.start();
  };
}

function copyOf(
  call: Call,
  target: Target,
  state: MirrorState,
  env: Env,
  previous: Mirrored | undefined,
): Mirrored | undefined {
  const { service, config, policy } = target;
  if (service !== undefined && state.load.under.size < limits.copies) {
    const mirrored = new Mirrored(config, service, state, env, previous);
    const body = call.body === noBody ? noBody : call.body.copy?.(mirrored);
    if (body !== undefined && mirrored.prepare(call, body, policy)) return mirrored;
    mirrored.forget();
  }
  tell(env, config, "dropped", 0);
  return undefined;
}

/** Telemetry fails open (law 9), here without a word: it is told of the same process's calls elsewhere. */
function tell(env: Env, cluster: ClusterInfo, outcome: "answered" | "failed" | "dropped", status: number): void {
  try {
    env.telemetry.onMirror?.(cluster, outcome, status);
  } catch {
    // Nothing of a copy may reach its call.
  }
}

/** One copy: the budget of its body, and the sink that throws its answer away. */
class Mirrored implements Sink, CopyBudget {
  readonly previous: Mirrored | undefined;
  readonly #config: ClusterInfo;
  readonly #service: Service;
  readonly #state: MirrorState;
  readonly #env: Env;
  #call: Call | undefined = undefined;
  #held = 0;
  #status = 0;
  #answered = 0;
  #lost = false;
  #over = false;

  constructor(config: ClusterInfo, service: Service, state: MirrorState, env: Env, previous: Mirrored | undefined) {
    this.#config = config;
    this.#service = service;
    this.#state = state;
    this.#env = env;
    this.previous = previous;
  }

  /** Before the call itself goes on, for that may change what the copy is made of. False: its body was lost already. */
  prepare(call: Call, body: Call["body"], { keepHost }: MirrorPolicy): boolean {
    if (this.#lost) return false;
    const { snapshot, protocol, scheme, method, authority, path, headers, transport } = call;
    const startMs = this.#env.clock.now();
    const copy = new Call({
      snapshot,
      side: "outbound",
      protocol,
      scheme,
      method,
      authority,
      path,
      headers: headers.clone(),
      body,
      transport,
      startMs,
    });
    copy.deadlineMs = call.deadlineMs;
    copy.callerAttempt = call.callerAttempt;
    copy.record.route = call.record.route;
    if (!keepHost) setAuthority(copy, shadowOf(authority));
    this.#call = copy;
    this.#state.load.under.add(this);
    this.#state.counter.begin(copy);
    return true;
  }

  start(): void {
    if (this.#over) return;
    try {
      this.#service(this.#call!, this);
    } catch (thrown) {
      this.#end("failed", MeshError.from(thrown).message);
    }
  }

  /** There is no copy after all. */
  forget(): void {
    this.#over = true;
    this.#state.load.bytes -= this.#held;
  }

  stop(): void {
    this.#end("dropped", "the mesh is closing");
  }

  take(bytes: number): boolean {
    const { load } = this.#state;
    if (this.#over || this.#held + bytes > limits.bodyBytes || load.bytes + bytes > limits.bytes) return false;
    this.#held += bytes;
    load.bytes += bytes;
    return true;
  }

  give(bytes: number): void {
    if (this.#over) return;
    this.#held -= bytes;
    this.#state.load.bytes -= bytes;
  }

  lost(): void {
    this.#lost = true;
    this.#end("dropped", "the body of the call broke off, or was faster than its copy");
  }

  onHead(head: ResponseHead): void {
    this.#status = head.status;
  }

  onData(chunk: Uint8Array): void {
    this.#answered += chunk.byteLength;
    if (this.#answered > limits.answerBytes) this.#end("answered", "nobody reads the answer to a copy");
  }

  onEnd(): void {
    this.#end("answered");
  }

  onError(): void {
    this.#end("failed");
  }

  /** Once. `reason`: it is still under way and must be stopped. */
  #end(outcome: "answered" | "failed" | "dropped", reason?: string): void {
    const call = this.#call;
    if (this.#over || call === undefined) return;
    this.#over = true;
    const { load, counter } = this.#state;
    load.under.delete(this);
    load.bytes -= this.#held;
    if (reason !== undefined) call.abort(new MeshError("ABORTED", reason, { sent: true }));
    tell(this.#env, this.#config, outcome, this.#status);
    counter.end(call);
  }
}

/** `reviews-shadow:9080`, so that the receiver's log tells copies from calls. As in Envoy an address gets the suffix, too. */
export function shadowOf(authority: string): string {
  const [, host = "", port = ""] = /^(\[.*\]|[^:]*)(:\d+)?$/.exec(authority) ?? [];
  return host === "" ? authority : `${host}-shadow${port}`;
}
