import type { Any } from "@bufbuild/protobuf/wkt";
import {
  DiscoveryRequestSchema,
  ResourceSchema,
  type LeanInit,
  aggregatedDiscoveryService,
  create,
  typeUrls,
} from "@trama/proto/lean";
import type { DiscoveryRequest, DiscoveryResponse } from "@trama/proto/envoy/service/discovery/v3/discovery_pb.js";

import { textOf } from "../errors.ts";
import { decode } from "../resources/any.ts";
import { ResourceError } from "../resources/error.ts";
import { resourceName } from "../resources/name.ts";
import {
  type Fault,
  type OpenSession,
  type Session,
  type SessionOptions,
  faultText,
  invalidArgument,
  type Update,
} from "./session.ts";
import { type Wrapped, statements } from "./statements.ts";
import { StreamTimers } from "./stream-timers.ts";
import type { BidiStream } from "./transport.ts";

/**
 * Opens streams that speak the state of the world, all to one server: the version last accepted of each type belongs to the
 * server and outlives its streams (R4). For servers that know no delta.
 */
export function sotwSessions(): OpenSession {
  const accepted = new Map<string, string>();
  return (options) => new SotwSession(options, accepted);
}

/** Of these types each response is the whole state: what it does not hold does not exist. Of the others it may be a part (R12). */
const wholeTypes: ReadonlySet<string> = new Set([typeUrls.listener, typeUrls.cluster]);

/**
 * Nothing in a response says which request it answers. A name that it lacks may be unknown to the server, or the response left
 * before the name arrived; then the true answer follows within a round trip. After this long it was the former (R12).
 */
const doubtMs = 500;

/**
 * Some servers answer a refusal with what was refused (go-control-plane's caches: the version that we give is not the present one), so
 * an immediate answer to that would keep both sides busy for as long as the fault lasts. Its refusal takes this long.
 */
const againMs = 1_000;

/** What this stream has said and heard about one type. */
interface TypeState {
  /** Name → number of the request that first had it. */
  readonly names: Map<string, number>;
  /** Of these the server surely knows: they were in the type's first request, or a response has brought them (R12). */
  readonly heard: Set<string>;
  /** Of the last response of this type on this stream (R3). */
  nonce: string;
  /**
   * A response is being applied. A request with its nonce would be its ACK, and one with an older nonce is not heard, so nothing is
   * said of this type until it is answered.
   */
  applying: boolean;
  /** Version of the last response, if that was refused. */
  refused: string | undefined;
  /** Names that were dropped while a response was applied. The server must hear of it, even if they are wanted again. */
  readonly withdrawn: Set<string>;
}

class SotwSession implements Session {
  readonly #options: SessionOptions;
  readonly #accepted: Map<string, string>;
  readonly #stream: BidiStream<DiscoveryRequest>;
  /** Types that were asked for on this stream. A type's first request is never an empty one: that would be a wildcard (R9). */
  readonly #types = new Map<string, TypeState>();
  readonly #timers: StreamTimers;
  #requests = 0;
  #answered = false;
  #ended = false;

  constructor(options: SessionOptions, accepted: Map<string, string>) {
    this.#options = options;
    this.#accepted = accepted;
    this.#timers = new StreamTimers(options.clock);
    this.#stream = options.transport.open(aggregatedDiscoveryService.StreamAggregatedResources, {
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

  // ── questions ──────────────────────────────────────────────────────────────────────────────────────────────────

  #subscribe(typeUrl: string, wanted: ReadonlySet<string>): void {
    const state = this.#types.get(typeUrl);
    if (state === undefined) {
      if (wanted.size > 0) this.#first(typeUrl, wanted);
      return;
    }
    const dropped = [...state.names.keys()].filter((name) => !wanted.has(name));
    if (state.applying) for (const name of dropped) state.withdrawn.add(name);
    else if (dropped.length > 0 || state.names.size < wanted.size) this.#request(typeUrl, state, wanted);
  }

  #first(typeUrl: string, wanted: ReadonlySet<string>): void {
    const state: TypeState = {
      names: new Map(),
      heard: new Set(wanted),
      nonce: "",
      applying: false,
      refused: undefined,
      withdrawn: new Set(),
    };
    this.#types.set(typeUrl, state);
    this.#request(typeUrl, state, wanted);
  }

  /** Every request carries the full list of names (R9), the version last accepted (R4), and the last nonce (R3). */
  #request(typeUrl: string, state: TypeState, names: ReadonlySet<string>, faults: readonly Fault[] = []): void {
    const number = ++this.#requests;
    for (const name of state.names.keys()) {
      if (names.has(name)) continue;
      state.names.delete(name);
      state.heard.delete(name);
    }
    const added = [...names].filter((name) => !state.names.has(name));
    for (const name of added) state.names.set(name, number);
    this.#send({
      typeUrl,
      versionInfo: this.#accepted.get(typeUrl) ?? "",
      responseNonce: state.nonce,
      resourceNames: [...names],
      ...(number === 1 && { node: this.#options.node }), // R1
      ...(faults.length > 0 && { errorDetail: { code: invalidArgument, message: faultText(typeUrl, faults) } }),
    });
    const held = added.length === 0 ? {} : this.#options.subscriber.versions(typeUrl);
    const unknown = added.filter((name) => !Object.hasOwn(held, name));
    this.#expect(typeUrl, state, unknown, number, this.#options.doesNotExistTimeoutMs);
  }

  #send(request: LeanInit<typeof DiscoveryRequestSchema>): void {
    this.#stream.send(create(DiscoveryRequestSchema, request));
  }

  // ── answers ────────────────────────────────────────────────────────────────────────────────────────────────────

  #receive(response: DiscoveryResponse): void {
    if (this.#ended) return;
    if (!this.#answered) {
      this.#answered = true;
      this.#options.onAnswered();
    }
    const { typeUrl } = response;
    const state = this.#types.get(typeUrl);
    if (state === undefined) {
      // R7. Not answered: a first request of a type without names would subscribe to all of it.
      this.#options.log.warn("ignored a response of a type that was not asked for", { typeUrl });
      return;
    }
    state.nonce = response.nonce;
    state.applying = true;
    const { resources, faults, removed } = this.#read(response, state);
    const update: Update = { typeUrl, resources, removed, ownVersions: false };
    const prepared = this.#options.subscriber.prepare?.(update);
    if (prepared === undefined) return this.#apply(response, state, update, faults);
    this.#stream.pause();
    void prepared.then(() => {
      this.#stream.resume();
      this.#apply(response, state, update, faults);
    });
  }

  #apply(response: DiscoveryResponse, state: TypeState, update: Update, faults: readonly Fault[]): void {
    if (this.#ended) return;
    const applied = this.#options.subscriber.apply(update);
    if (!(applied instanceof Promise)) return this.#judged(response, state, [...faults, ...applied]);
    this.#stream.pause();
    void applied.then((more) => {
      this.#judged(response, state, [...faults, ...more]);
      this.#stream.resume();
    });
  }

  /** Answers at once, unless that would be the beginning of a loop. */
  #judged(response: DiscoveryResponse, state: TypeState, faults: readonly Fault[]): void {
    const { versionInfo, nonce } = response;
    const again = faults.length > 0 && state.refused === versionInfo;
    state.refused = faults.length > 0 ? versionInfo : undefined;
    if (!again) return this.#answer(response, state, faults);
    // A newer response is answered in its place (S6).
    this.#timers.after(againMs, () => {
      if (state.nonce === nonce) this.#answer(response, state, faults);
    });
  }

  /** ACK, or NACK with the version that was accepted before it and the text of each fault (R5, R6). */
  #answer({ typeUrl, versionInfo }: DiscoveryResponse, state: TypeState, faults: readonly Fault[]): void {
    if (this.#ended) return;
    state.applying = false;
    if (faults.length === 0) this.#accepted.set(typeUrl, versionInfo);
    const wanted = this.#options.subscriber.wanted().get(typeUrl) ?? [];
    const names = new Set([...wanted].filter((name) => !state.withdrawn.has(name)));
    state.withdrawn.clear();
    this.#request(typeUrl, state, names, faults);
    this.sync();
  }

  #read(response: DiscoveryResponse, state: TypeState): ReturnType<typeof statements> {
    const { typeUrl, versionInfo } = response;
    const named: Wrapped[] = [];
    const nameless: Fault[] = [];
    for (const [index, any] of response.resources.entries()) {
      try {
        named.push(unwrap(any, typeUrl, versionInfo));
      } catch (error) {
        nameless.push({ name: `resources[${index}]`, message: textOf(error) });
      }
    }
    const { resources, faults } = statements(named, []);
    const mentioned = new Set(named.map((one) => one.name));
    for (const name of mentioned) if (state.names.has(name)) state.heard.add(name);
    // A response of heartbeats alone renews what it names and says nothing about the rest (R21); what has no name may be anyone.
    const heartbeats = named.length > 0 && named.every((one) => one.resource === undefined);
    const whole = wholeTypes.has(typeUrl) && nameless.length === 0 && !heartbeats;
    const removed = whole ? this.#absent(typeUrl, state, mentioned) : [];
    return { resources, removed, faults: [...faults, ...nameless] };
  }

  /** R12: names that do not exist. Those of which the server may not have heard yet are decided a little later. */
  #absent(typeUrl: string, state: TypeState, mentioned: ReadonlySet<string>): string[] {
    const absent = [...state.names.keys()].filter((name) => !mentioned.has(name));
    const doubtful = absent.filter((name) => !state.heard.has(name));
    const byRequest = Map.groupBy(doubtful, (name) => state.names.get(name) ?? 0);
    for (const [request, names] of byRequest) this.#expect(typeUrl, state, names, request, doubtMs);
    return absent.filter((name) => state.heard.has(name));
  }

  // ── does-not-exist timers (R10) ────────────────────────────────────────────────────────────────────────────────

  #opened(): void {
    if (this.#ended) return;
    this.#options.onOpened();
    this.#timers.opened();
  }

  /** One timer for all names of a request. Names that were answered meanwhile are the subscriber's to know. */
  #expect(typeUrl: string, state: TypeState, names: readonly string[], request: number, delayMs: number): void {
    if (names.length === 0) return;
    this.#timers.after(delayMs, () => {
      // A name that was dropped and asked for again has a later timer.
      const still = names.filter((name) => state.names.get(name) === request);
      if (still.length === 0) return;
      for (const name of still) state.heard.add(name);
      if (this.#options.subscriber.unanswered(typeUrl, still)) this.sync();
    });
  }
}

const wrapperType = ResourceSchema.typeName;

/** A resource comes as it is, or wrapped, with its name, time to live and own version outside (R21). */
function unwrap(any: Any, typeUrl: string, versionInfo: string): Wrapped {
  const wrapped = any.typeUrl !== typeUrl && any.typeUrl.endsWith(`/${wrapperType}`);
  if (!wrapped && any.typeUrl !== typeUrl) throw new ResourceError(`it is a ${any.typeUrl || "resource without type"}`);
  const outer: Wrapped = wrapped ? decode(ResourceSchema, any.value) : { name: "", version: "", resource: any };
  const { resource, ttl } = outer;
  const name = outer.name === "" && resource !== undefined ? resourceName(resource.value) : outer.name;
  if (name === "") throw new ResourceError("it has no name");
  return { name, version: outer.version || versionInfo, resource, ttl };
}
