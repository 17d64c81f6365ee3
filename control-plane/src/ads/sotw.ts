import { createHash } from "node:crypto";
import { create } from "@bufbuild/protobuf";
import {
  type DiscoveryRequest,
  type DiscoveryResponse,
  DiscoveryResponseSchema,
} from "@trama/proto/envoy/service/discovery/v3/discovery_pb.js";

import type { WireResource } from "../snapshot.ts";
import { type Plan, type Round, type Subscription, type View, WILDCARD, wholeSetTypes } from "./subscription.ts";

type Resources = ReadonlyMap<string, WireResource>;

/** One type of a state-of-the-world stream. */
export class SotwSubscription implements Subscription<DiscoveryRequest, DiscoveryResponse> {
  readonly #typeUrl: string;
  readonly #identifier: string;
  /** Listeners and clusters go out whole each time; the others may carry only what is new (S11). */
  readonly #whole: boolean;
  #named: ReadonlySet<string> = new Set();
  /** What the client was sent last, by name: kept as it was, because in the first round nothing is taken away yet (S18). */
  #sent = new Map<string, WireResource>();
  readonly #owed = new Set<string>();
  #wildcard = false;
  #everNamed = false;
  /** A whole-set type was asked for something new: it is answered even if nothing of it exists (S12). */
  #answerDue = false;
  #first = true;
  /** The version that a reconnecting client says it has; looked at once, when there is something to compare it with. */
  #claimed: string | undefined;

  constructor(typeUrl: string, identifier: string) {
    this.#typeUrl = typeUrl;
    this.#identifier = identifier;
    this.#whole = wholeSetTypes.has(typeUrl);
  }

  get size(): number {
    return Math.max(this.#named.size, this.#sent.size) + this.#owed.size;
  }

  get asked(): number {
    return this.#named.size + (this.#wildcard ? 1 : 0);
  }

  /** The full list of names each time. An empty one means all only as long as no name was ever given (S9). */
  request(req: DiscoveryRequest): void {
    if (this.#first && req.versionInfo !== "") this.#claimed = req.versionInfo;
    if (req.resourceNames.length > 0) this.#everNamed = true;
    const named = new Set(req.resourceNames);
    const wildcard = named.delete(WILDCARD) || (this.#whole && !this.#everNamed);
    const added = [...named].filter((name) => !this.#named.has(name));
    // S10: a name newly asked for is sent, whatever was sent before.
    for (const name of added) this.#owed.add(name);
    if (this.#whole && (added.length > 0 || (wildcard && !this.#wildcard))) this.#answerDue = true;
    this.#first = false;
    this.#named = named;
    this.#wildcard = wildcard;
    for (const set of [this.#sent, this.#owed])
      for (const name of set.keys()) if (!wildcard && !named.has(name)) set.delete(name);
  }

  renew(names: readonly string[]): void {
    for (const name of names) if (this.#named.has(name)) this.#owed.add(name);
  }

  plan(view: View, round: Round): Plan<DiscoveryResponse> | undefined {
    const now = this.#current(view);
    if (this.#claimed !== undefined) this.#resume(this.#claimed, now);
    if (!this.#whole) return round === "make" ? this.#makePart(view, now) : this.#forget(now);
    const gone = [...this.#sent].filter(([name]) => !now.has(name));
    if (round === "break") return gone.length === 0 ? undefined : this.#response(now, now, false);
    const news = this.#answerDue || [...now].some(([name, resource]) => this.#isNews(name, resource));
    if (!news) return undefined;
    const all = new Map([...now, ...gone]);
    return this.#response(all, all, false);
  }

  /** S5: a client that comes back with the very state that it would get is told nothing. */
  #resume(claimed: string, now: Resources): void {
    this.#claimed = undefined;
    if (this.#versionOf(now) !== claimed) return;
    this.#sent = new Map(now);
    this.#owed.clear();
    this.#answerDue = false;
  }

  #current({ snapshot, node }: View): Resources {
    const found = new Map<string, WireResource>();
    const names = this.#wildcard ? new Set([...this.#named, ...snapshot.names(node, this.#typeUrl)]) : this.#named;
    for (const name of names) {
      const resource = snapshot.resource(node, this.#typeUrl, name);
      if (resource !== undefined) found.set(name, resource);
    }
    return found;
  }

  #isNews(name: string, resource: WireResource): boolean {
    return this.#owed.has(name) || this.#sent.get(name)?.version !== resource.version;
  }

  #makePart({ limits }: View, now: Resources): Plan<DiscoveryResponse> | undefined {
    const part = new Map<string, WireResource>();
    let bytes = 0;
    let more = false;
    for (const [name, resource] of now) {
      if (!this.#isNews(name, resource)) continue;
      bytes += resource.bytes.length;
      more = bytes > limits.maxResponseBytes && part.size > 0;
      if (more) break;
      part.set(name, resource);
    }
    // S12: of a name that does not exist nothing is said; it stays subscribed.
    return part.size === 0 ? undefined : this.#response(part, new Map([...this.#sent, ...part]), more);
  }

  /**
   * Routes and endpoints cannot be taken away in this dialect: their absence means nothing. But when one comes back it is
   * to be sent, even byte for byte the same.
   */
  #forget(now: Resources): undefined {
    for (const name of this.#sent.keys()) if (!now.has(name)) this.#sent.delete(name);
  }

  #response(carried: Resources, state: Resources, more: boolean): Plan<DiscoveryResponse> {
    const changed = [...carried].flatMap(([name, { version }]) =>
      this.#sent.get(name)?.version === version ? [] : [name],
    );
    return {
      changed,
      more,
      build: (nonce) =>
        create(DiscoveryResponseSchema, {
          versionInfo: this.#versionOf(state),
          typeUrl: this.#typeUrl,
          nonce,
          controlPlane: { identifier: this.#identifier },
          resources: [...carried.values()].map(({ typeUrl, bytes }) => ({ typeUrl, value: bytes })),
        }),
      commit: () => {
        this.#sent = new Map(state);
        for (const name of carried.keys()) this.#owed.delete(name);
        this.#answerDue = false;
      },
    };
  }

  /**
   * S4: a hash of the state that the client then has, names asked for in vain included, so that a subscription to
   * something new is never taken for one that is up to date (S5).
   */
  #versionOf(state: Resources): string {
    const hash = createHash("sha256");
    for (const name of [...new Set([...this.#named, ...state.keys()])].sort())
      hash.update(`${name}\n${state.get(name)?.version ?? ""}\n`);
    return hash.digest("base64url").slice(0, 22);
  }
}
