import { DeltaDiscoveryRequestSchema, type LeanInit, aggregatedDiscoveryService, create } from "@trama/proto/lean";
import type {
  DeltaDiscoveryRequest,
  DeltaDiscoveryResponse,
} from "@trama/proto/envoy/service/discovery/v3/discovery_pb.js";

import {
  type Fault,
  type OpenSession,
  type Session,
  type SessionOptions,
  faultText,
  invalidArgument,
  type Update,
} from "./session.ts";
import { statements } from "./statements.ts";
import { StreamTimers } from "./stream-timers.ts";
import type { BidiStream } from "./transport.ts";

/** Opens a stream that speaks delta xDS. */
export const openDelta: OpenSession = (options) => new DeltaSession(options);

/** What this stream has said about one type. */
interface TypeState {
  /** Name → number of the request that subscribed it. Differences are made against it (R22). */
  readonly sent: Map<string, number>;
  /** What was wanted when they were last compared. */
  wanted: ReadonlySet<string>;
}

class DeltaSession implements Session {
  readonly #options: SessionOptions;
  readonly #stream: BidiStream<DeltaDiscoveryRequest>;
  /** Types that were asked for on this stream. A type is never asked for with no name at all: that would be a wildcard. */
  readonly #types = new Map<string, TypeState>();
  readonly #timers: StreamTimers;
  #requests = 0;
  #nodeSent = false;
  #answered = false;
  #ended = false;

  constructor(options: SessionOptions) {
    this.#options = options;
    this.#timers = new StreamTimers(options.clock);
    this.#stream = options.transport.open(aggregatedDiscoveryService.DeltaAggregatedResources, {
      onOpen: () => this.#opened(),
      onMessage: (response) => this.#receive(response),
      onEnd: (status) => {
        this.#finish();
        options.onEnd(status);
      },
    });
    this.sync();
  }

  sync(): void {
    if (this.#ended) return;
    for (const [typeUrl, wanted] of this.#options.subscriber.wanted()) this.#subscribe(typeUrl, wanted);
  }

  close(): void {
    if (this.#ended) return;
    this.#finish();
    this.#stream.close();
  }

  #finish(): void {
    this.#ended = true;
    this.#timers.close();
  }

  /** Sends the difference between what is wanted and what this stream has asked for; no nonce, as it answers nothing (R23). */
  #subscribe(typeUrl: string, wanted: ReadonlySet<string>): void {
    let state = this.#types.get(typeUrl);
    if (state === undefined) {
      if (wanted.size === 0) return;
      state = { sent: new Map(), wanted };
      this.#types.set(typeUrl, state);
      this.#first(typeUrl, state, wanted);
      return;
    }
    if (state.wanted === wanted) return;
    state.wanted = wanted;
    const added: string[] = [];
    const dropped: string[] = [];
    for (const name of wanted) if (!state.sent.has(name)) added.push(name);
    if (state.sent.size + added.length > wanted.size) {
      for (const name of state.sent.keys()) if (!wanted.has(name)) dropped.push(name);
    }
    if (added.length === 0 && dropped.length === 0) return;
    for (const name of dropped) state.sent.delete(name);
    const request = this.#note(state, added);
    this.#send({ typeUrl, resourceNamesSubscribe: added, resourceNamesUnsubscribe: dropped });
    this.#expect(typeUrl, state, added, request);
  }

  /** The first request of a type on a stream carries all names, and what we hold of them (R22). */
  #first(typeUrl: string, state: TypeState, wanted: ReadonlySet<string>): void {
    const names = [...wanted];
    const versions = this.#options.subscriber.versions(typeUrl);
    const request = this.#note(state, names);
    this.#send({ typeUrl, resourceNamesSubscribe: names, initialResourceVersions: { ...versions } });
    const unknown = names.filter((name) => !Object.hasOwn(versions, name));
    this.#expect(typeUrl, state, unknown, request);
  }

  #note(state: TypeState, names: readonly string[]): number {
    const request = ++this.#requests;
    for (const name of names) state.sent.set(name, request);
    return request;
  }

  /** The node goes with the very first request of the stream (R1). */
  #send(request: LeanInit<typeof DeltaDiscoveryRequestSchema>): void {
    const first = !this.#nodeSent;
    this.#nodeSent = true;
    this.#stream.send(create(DeltaDiscoveryRequestSchema, first ? { ...request, node: this.#options.node } : request));
  }

  // ── answers ────────────────────────────────────────────────────────────────────────────────────────────────────

  #receive(response: DeltaDiscoveryResponse): void {
    if (this.#ended) return;
    if (!this.#answered) {
      this.#answered = true;
      this.#options.onAnswered();
    }
    if (!this.#types.has(response.typeUrl)) {
      // R7. Not answered: a first request of a type without names would subscribe to all of it.
      this.#options.log.warn("ignored a response of a type that was not asked for", { typeUrl: response.typeUrl });
      return;
    }
    const { typeUrl } = response;
    const { resources, removed, faults } = statements(response.resources, response.removedResources);
    const update: Update = { typeUrl, resources, removed, ownVersions: true };
    const prepared = this.#options.subscriber.prepare?.(update);
    if (prepared === undefined) return this.#apply(response, update, faults);
    this.#stream.pause();
    void prepared.then(() => {
      this.#stream.resume();
      this.#apply(response, update, faults);
    });
  }

  #apply(response: DeltaDiscoveryResponse, update: Update, faults: readonly Fault[]): void {
    if (this.#ended) return;
    const applied = this.#options.subscriber.apply(update);
    if (!(applied instanceof Promise)) return this.#answer(response, [...faults, ...applied]);
    this.#stream.pause();
    void applied.then((more) => {
      this.#answer(response, [...faults, ...more]);
      this.#stream.resume();
    });
  }

  /** Every response is answered: ACK, or NACK with the text of each fault (R5, R6). What it led to is asked for then. */
  #answer(response: DeltaDiscoveryResponse, faults: readonly Fault[]): void {
    if (this.#ended) return;
    this.#send({
      typeUrl: response.typeUrl,
      responseNonce: response.nonce,
      ...(faults.length > 0 && {
        errorDetail: { code: invalidArgument, message: faultText(response.typeUrl, faults) },
      }),
    });
    this.sync();
  }

  // ── does-not-exist timers (R10) ────────────────────────────────────────────────────────────────────────────────

  #opened(): void {
    if (this.#ended) return;
    this.#options.onOpened();
    this.#timers.opened();
  }

  /** One timer for all names of a request. Names that were answered meanwhile are the subscriber's to know. */
  #expect(typeUrl: string, state: TypeState, names: readonly string[], request: number): void {
    if (names.length === 0) return;
    this.#timers.after(this.#options.doesNotExistTimeoutMs, () => {
      // A name that was dropped and asked for again has a later timer.
      const still = names.filter((name) => state.sent.get(name) === request);
      if (still.length === 0) return;
      if (this.#options.subscriber.unanswered(typeUrl, still)) this.sync();
    });
  }
}
