import { create } from "@bufbuild/protobuf";
import {
  type DeltaDiscoveryRequest,
  type DeltaDiscoveryResponse,
  DeltaDiscoveryResponseSchema,
  type Resource,
  ResourceSchema,
} from "@trama/proto/envoy/service/discovery/v3/discovery_pb.js";

import type { WireResource } from "../snapshot.ts";
import { type Plan, type Round, type Subscription, type View, WILDCARD, wholeSetTypes } from "./subscription.ts";

/** One type of a delta stream. */
export class DeltaSubscription implements Subscription<DeltaDiscoveryRequest, DeltaDiscoveryResponse> {
  readonly #typeUrl: string;
  readonly #identifier: string;
  readonly #named = new Set<string>();
  /** What the client has, as far as we know, by version. */
  readonly #held = new Map<string, string>();
  /** Names that must be answered, changed or not: as a resource, or as removed (S13, S14). */
  readonly #owed = new Set<string>();
  #wildcard = false;
  /** A client that has nothing yet waits for a first answer to its wildcard, even an empty one. */
  #wildcardUnanswered = false;
  #first = true;

  constructor(typeUrl: string, identifier: string) {
    this.#typeUrl = typeUrl;
    this.#identifier = identifier;
  }

  get size(): number {
    return Math.max(this.#named.size, this.#held.size) + this.#owed.size;
  }

  get asked(): number {
    return this.#named.size + (this.#wildcard ? 1 : 0);
  }

  request(req: DeltaDiscoveryRequest): void {
    const first = this.#first;
    this.#first = false;
    if (first) {
      // Only here do these count (S14): later on we know ourselves what the client was sent.
      for (const [name, version] of Object.entries(req.initialResourceVersions)) this.#held.set(name, version);
      const silent = req.resourceNamesSubscribe.length + req.resourceNamesUnsubscribe.length === 0;
      if (silent && wholeSetTypes.has(this.#typeUrl)) this.#subscribe(WILDCARD, true);
    }
    // Removals first: a name in both lists stays subscribed and gets an answer.
    for (const name of req.resourceNamesUnsubscribe) this.#unsubscribe(name);
    for (const name of req.resourceNamesSubscribe) this.#subscribe(name, first);
  }

  #subscribe(name: string, first: boolean): void {
    if (name === WILDCARD) {
      // S14, asked for again: with no version on record all that exists is sent, and what is gone is listed as removed.
      if (!first) for (const held of this.#held.keys()) this.#held.set(held, "");
      this.#wildcard = true;
      this.#wildcardUnanswered = this.#held.size === 0;
      return;
    }
    this.#named.add(name);
    // S14: always answered, but for the name that a reconnecting client still has: there the version decides.
    if (!first || !this.#held.has(name)) this.#owed.add(name);
  }

  #unsubscribe(name: string): void {
    if (name === WILDCARD) {
      this.#wildcard = false;
      this.#wildcardUnanswered = false;
      for (const set of [this.#held, this.#owed])
        for (const name of set.keys()) if (!this.#named.has(name)) set.delete(name);
      return;
    }
    this.#named.delete(name);
    if (this.#wildcard) {
      // S15: the wildcard still covers it, so the client must hear whether it goes or stays.
      this.#owed.add(name);
    } else {
      this.#owed.delete(name);
      this.#held.delete(name);
    }
  }

  renew(names: readonly string[]): void {
    for (const name of names) if (this.#named.has(name)) this.#owed.add(name);
  }

  plan(view: View, round: Round): Plan<DeltaDiscoveryResponse> | undefined {
    return round === "make" ? this.#make(view) : this.#break(view);
  }

  #make(view: View): Plan<DeltaDiscoveryResponse> | undefined {
    const { snapshot, node, limits } = view;
    const found: WireResource[] = [];
    const removed: string[] = [];
    let bytes = 0;
    let more = false;
    for (const [name, covered] of this.#candidates(view)) {
      const owed = this.#owed.has(name);
      const resource = covered ? snapshot.resource(node, this.#typeUrl, name) : undefined;
      if (resource === undefined) {
        if (owed) removed.push(name);
      } else if (owed || this.#held.get(name) !== resource.version) {
        bytes += resource.bytes.length;
        if (bytes > limits.maxResponseBytes && found.length > 0) {
          more = true;
          break;
        }
        found.push(resource);
      }
    }
    if (found.length + removed.length === 0 && !this.#wildcardUnanswered) return undefined;
    return this.#response(view, found, removed, more);
  }

  /** What a client has that exists no more, or is no longer for it: also what it brought from another stream (S16). */
  #break(view: View): Plan<DeltaDiscoveryResponse> | undefined {
    const all = this.#wildcard ? new Set(view.snapshot.names(view.node, this.#typeUrl)) : undefined;
    const removed: string[] = [];
    for (const name of this.#held.keys()) {
      const covered = this.#named.has(name) || all === undefined || all.has(name);
      if (!covered || view.snapshot.resource(view.node, this.#typeUrl, name) === undefined) removed.push(name);
    }
    return removed.length === 0 ? undefined : this.#response(view, [], removed, false);
  }

  /** Names that may need an answer, each once, and whether a subscription covers it. */
  *#candidates(view: View): Iterable<readonly [name: string, covered: boolean]> {
    const all = this.#wildcard ? new Set(view.snapshot.names(view.node, this.#typeUrl)) : undefined;
    for (const name of this.#named) yield [name, true];
    if (all !== undefined) for (const name of all) if (!this.#named.has(name)) yield [name, true];
    for (const name of this.#owed) if (!this.#named.has(name) && all?.has(name) !== true) yield [name, false];
  }

  #response(view: View, found: WireResource[], removed: string[], more: boolean): Plan<DeltaDiscoveryResponse> {
    return {
      changed: found.flatMap(({ name, version }) => (this.#held.get(name) === version ? [] : [name])),
      more,
      build: (nonce) =>
        create(DeltaDiscoveryResponseSchema, {
          systemVersionInfo: view.snapshot.version,
          typeUrl: this.#typeUrl,
          nonce,
          controlPlane: { identifier: this.#identifier },
          resources: found.map(wrap),
          removedResources: removed,
        }),
      commit: () => {
        for (const { name, version } of found) this.#held.set(name, version);
        for (const { name } of found) this.#owed.delete(name);
        for (const set of [this.#held, this.#owed]) for (const name of removed) set.delete(name);
        this.#wildcardUnanswered = false;
      },
    };
  }
}

function wrap({ name, version, typeUrl, bytes }: WireResource): Resource {
  return create(ResourceSchema, { name, version, resource: { typeUrl, value: bytes } });
}
