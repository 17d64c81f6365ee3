import { status } from "@grpc/grpc-js";
import { typeUrls } from "@trama/proto";

import type { Identity } from "../auth/identity.ts";
import type { NodeView } from "../snapshot.ts";
import { newStatus, type TypeChannel } from "./channel.ts";
import type { AnyRequest, Dialect } from "./dialect.ts";
import { checkNames, StreamFault } from "./limits.ts";
import { nodeView } from "./node.ts";
import { compareBreak, compareMake, isKnownType } from "./order.ts";
import type { SessionEnv, Wire } from "./session-env.ts";
import type { Plan, View } from "./subscription.ts";

/** NACK texts are the client's: kept for status, not without end. */
const MAX_NACK_TEXT = 4_096;

/**
 * One ADS stream. It knows the client's node and its types, and decides what may go when: order (S18), one unanswered
 * response per type (S23), time-outs (S26). What a response holds is the subscriptions' business, bytes are the wire's.
 *
 * Life: opened → first request names the node → requests and snapshots, each followed by `#pump` → closed, once, by
 * whichever comes first: the client, a fault, a time-out, the expiry of the identity, the server's end.
 */
export class Session<Req extends AnyRequest, Res> {
  readonly #dialect: Dialect<Req, Res>;
  readonly #identity: Identity;
  readonly #wire: Wire<Res>;
  readonly #env: SessionEnv;
  readonly #channels = new Map<string, TypeChannel<Req, Res>>();
  #node: NodeView | undefined;
  #lastNonce = 0;
  #publishedAt: number | undefined;
  /** Removals wait until then for requests that are still on their way. */
  #settledAt = 0;
  readonly #timers = new Set<() => void>();
  #wakeUp: { readonly at: number; readonly stop: () => void } | undefined;
  #closed = false;

  constructor(dialect: Dialect<Req, Res>, identity: Identity, wire: Wire<Res>, env: SessionEnv) {
    this.#dialect = dialect;
    this.#identity = identity;
    this.#wire = wire;
    this.#env = env;
    const { clock, limits } = env;
    this.#after(limits.firstRequestMs, () => {
      if (this.#node === undefined) this.end(status.INVALID_ARGUMENT, "no request came on this stream");
    });
    // S36. Beyond the greatest age of a connection the stream will not live anyway; timers have an upper limit, too.
    const rightEndsIn = identity.expiresAt + limits.expiryGraceMs - clock.now();
    if (rightEndsIn < 86_400_000)
      this.#after(Math.max(0, rightEndsIn), () =>
        this.end(
          status.UNAUTHENTICATED,
          `the ${identity.proof} that opened this stream has expired; come with a new one`,
        ),
      );
  }

  get node(): NodeView | undefined {
    return this.#node;
  }

  /** By type URL, for status. */
  get channels(): Iterable<Pick<TypeChannel<Req, Res>, "typeUrl" | "status">> {
    return this.#channels.values();
  }

  /** True when no response is on its way: the moment to end a stream that has grown old (S27). */
  get quiet(): boolean {
    return [...this.#channels.values()].every((channel) => channel.unansweredSince === undefined);
  }

  onRequest(req: Req): void {
    this.#guarded(() => {
      this.#identify(req);
      this.#take(req);
      this.#pump();
    });
  }

  /** S24: costs a comparison of versions for each name; a client of which nothing changed is sent nothing. */
  onSnapshot(publishedAt: number): void {
    this.#guarded(() => {
      this.#publishedAt = publishedAt;
      for (const channel of this.#channels.values()) channel.dirty = true;
      this.#pump();
    });
  }

  /** Ends the stream from our side. */
  end(code: status, message: string): void {
    if (this.#closed) return;
    this.close();
    this.#wire.end(code, message);
  }

  /** The stream is gone: nothing of it may fire any more. */
  close(): void {
    this.#closed = true;
    for (const stop of this.#timers) stop();
  }

  /** S1, S33: the node comes with the first request; a later one may repeat it, but not change it. */
  #identify(req: Req): void {
    if (req.node === undefined) {
      if (this.#node === undefined) throw new StreamFault(status.INVALID_ARGUMENT, "the first request has no node");
      return;
    }
    if (this.#node !== undefined && req.node.id !== this.#node.id)
      throw new StreamFault(
        status.INVALID_ARGUMENT,
        `this stream is of node ${this.#node.id}; another node needs another stream`,
      );
    const view = nodeView(req.node, this.#identity, this.#env.limits);
    if (this.#node !== undefined) return;
    this.#node = view;
    this.#env.events.identified(view);
  }

  #take(req: Req): void {
    const { limits, events } = this.#env;
    if (req.typeUrl === "") throw new StreamFault(status.INVALID_ARGUMENT, "the request has no type_url");
    checkNames(this.#dialect.names(req), limits);
    const known = this.#channels.get(req.typeUrl);
    const channel = known ?? this.#open(req.typeUrl);
    if (known !== undefined && this.#answer(channel, req) === "stale" && this.#dialect.dropsStale) return;
    channel.subscription.request(req);
    channel.status.names = channel.subscription.asked;
    channel.dirty = true;
    let size = 0;
    for (const each of this.#channels.values()) size += each.subscription.size;
    if (size > limits.maxNamesPerStream)
      throw new StreamFault(
        status.RESOURCE_EXHAUSTED,
        `${size} resource names on one stream; at most ${limits.maxNamesPerStream} are kept`,
      );
    if (known === undefined && !isKnownType(req.typeUrl) && this.#node !== undefined)
      events.unknownType(this.#node, req.typeUrl);
  }

  #open(typeUrl: string): TypeChannel<Req, Res> {
    const { clock, limits, identifier } = this.#env;
    if (this.#channels.size >= limits.maxTypesPerStream)
      throw new StreamFault(status.RESOURCE_EXHAUSTED, `more than ${limits.maxTypesPerStream} types on one stream`);
    const channel: TypeChannel<Req, Res> = {
      typeUrl,
      subscription: this.#dialect.subscription(typeUrl, identifier),
      status: newStatus(),
      nonce: "",
      unansweredSince: undefined,
      publishedAt: undefined,
      dirty: true,
    };
    this.#channels.set(typeUrl, channel);
    this.#settledAt = clock.now() + limits.settleMs;
    return channel;
  }

  /** ACK and NACK (S3): `error_detail` is a NACK, and nothing else is. */
  #answer(channel: TypeChannel<Req, Res>, req: Req): "answer" | "stale" | "none" {
    const { clock, events } = this.#env;
    const { responseNonce: nonce, errorDetail } = req;
    // Delta: a request without a nonce is no answer. SotW: it is one from before the first response.
    if (nonce !== channel.nonce) {
      if (nonce === "" && errorDetail === undefined && !this.#dialect.dropsStale) return "none";
      if (nonce !== "" || errorDetail === undefined) {
        events.staleNonce(channel.typeUrl);
        return "stale";
      }
    }
    if (channel.unansweredSince === undefined && errorDetail === undefined) return "none";
    channel.unansweredSince = undefined;
    const { status: record } = channel;
    const at = new Date(clock.now()).toISOString();
    if (errorDetail !== undefined) {
      record.nacked += 1;
      record.nackedAt = at;
      record.nackText = errorDetail.message.slice(0, MAX_NACK_TEXT).toWellFormed();
      if (this.#node !== undefined) events.nacked(this.#node, channel.typeUrl, record.nackText);
    } else {
      record.acked += 1;
      record.ackedAt = at;
      record.nackText = undefined;
      events.acked(channel.typeUrl);
      if (channel.publishedAt !== undefined) events.converged(channel.publishedAt);
    }
    return "answer";
  }

  /**
   * Sends what may go now. First everything that is new, in order; a type may overtake an earlier one only if that has
   * nothing left to bring. Then, once all is brought, what is gone; a removal waits for the ACKs of what referred to it.
   */
  #pump(): void {
    const snapshot = this.#env.current();
    if (snapshot === undefined || this.#node === undefined || this.#closed) return;
    const view = { snapshot, node: this.#node, limits: this.#env.limits };
    const channels = [...this.#channels.values()].filter((channel) => channel.dirty);
    for (const channel of channels.toSorted((a, b) => compareMake(a.typeUrl, b.typeUrl))) {
      const plan = channel.subscription.plan(view, "make");
      if (plan === undefined) continue;
      if (channel.unansweredSince === undefined) {
        this.#send(channel, plan);
        this.#renewEndpoints(channel, plan.changed);
        if (plan.more) return;
      } else if (this.#holds(channel)) {
        return;
      }
    }
    this.#break(view);
    if (channels.every((channel) => !channel.dirty)) this.#publishedAt = undefined;
  }

  #break(view: View): void {
    let held = false;
    for (const channel of [...this.#channels.values()].sort((a, b) => compareBreak(a.typeUrl, b.typeUrl))) {
      const plan = channel.dirty ? channel.subscription.plan(view, "break") : undefined;
      if (plan === undefined) {
        if (channel.unansweredSince === undefined) channel.dirty = false;
      } else if (!held && channel.unansweredSince === undefined && !this.#settles()) {
        this.#send(channel, plan);
      }
      held ||= this.#holds(channel);
    }
  }

  /** Whether others wait for this type's ACK: for a while, because a client may owe it for ever. */
  #holds({ unansweredSince }: TypeChannel<Req, Res>): boolean {
    return unansweredSince !== undefined && this.#waitsUntil(unansweredSince + this.#env.limits.orderHoldMs);
  }

  /** A reconnecting client asks type by type: what it has no more use for is told when it has asked for all. */
  #settles(): boolean {
    return this.#waitsUntil(this.#settledAt);
  }

  #waitsUntil(at: number): boolean {
    const left = at - this.#env.clock.now();
    if (left <= 0) return false;
    if (this.#wakeUp !== undefined && this.#wakeUp.at <= at) return true;
    this.#wakeUp?.stop();
    const stop = this.#after(left, () => {
      this.#wakeUp = undefined;
      this.#guarded(() => this.#pump());
    });
    this.#wakeUp = { at, stop };
    return true;
  }

  /** S20: a proxy that warms a changed cluster waits for its endpoints, and asks in no way that could be told from an ACK. */
  #renewEndpoints(channel: TypeChannel<Req, Res>, changed: readonly string[]): void {
    const endpoints = this.#channels.get(typeUrls.clusterLoadAssignment);
    if (channel.typeUrl !== typeUrls.cluster || endpoints === undefined || this.#node?.kind === "trama") return;
    endpoints.subscription.renew(changed);
    endpoints.dirty = true;
  }

  #send(channel: TypeChannel<Req, Res>, plan: Plan<Res>): void {
    const { clock, limits, events } = this.#env;
    this.#lastNonce += 1;
    const nonce = this.#lastNonce.toString(36);
    const response = plan.build(nonce);
    plan.commit();
    const now = clock.now();
    channel.nonce = nonce;
    channel.unansweredSince = now;
    channel.publishedAt = this.#publishedAt;
    channel.status.sent += 1;
    channel.status.sentAt = new Date(now).toISOString();
    events.sent(channel.typeUrl);
    const taken = this.#after(limits.sendTimeoutMs, () => {
      if (this.#node !== undefined) events.sendTimedOut(this.#node, channel.typeUrl);
      this.close();
      this.#wire.cut();
    });
    this.#wire.send(response, taken);
  }

  #after(ms: number, fn: () => void): () => void {
    const cancel = this.#env.clock.after(ms, () => {
      this.#timers.delete(stop);
      fn();
    });
    const stop = (): void => {
      cancel();
      this.#timers.delete(stop);
    };
    this.#timers.add(stop);
    return stop;
  }

  /** A fault ends the stream with its status; a bug ends this stream alone, too, and is told to the log. */
  #guarded(work: () => void): void {
    if (this.#closed) return;
    try {
      work();
    } catch (error) {
      if (error instanceof StreamFault) return this.end(error.code, error.message);
      this.#env.events.crashed(error);
      this.end(status.INTERNAL, "the control plane failed to answer");
    }
  }
}
