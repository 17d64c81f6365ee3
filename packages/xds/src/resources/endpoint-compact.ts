import type { EndpointConfig } from "@trama/engine";

import type { EndpointTexts } from "./endpoint-texts.ts";

/** What many endpoints of an assignment have in common: one object of it does for all of them. */
export interface EndpointTraits {
  readonly port: number;
  readonly weight: number;
  readonly health: EndpointConfig["health"];
  readonly tlsMode: string;
  readonly hashKey: string | undefined;
}

/**
 * An endpoint as it is held. Ten thousand of them come at once, and V8 copies each young object and text twice, with the event loop held: so
 * this is one object for each, and its texts are made when somebody asks.
 */
export class CompactEndpoint implements EndpointConfig {
  readonly traits: EndpointTraits;
  readonly #texts: EndpointTexts;
  readonly #index: number;
  #address: string | undefined = undefined;
  #workload: string | undefined = undefined;

  constructor(traits: EndpointTraits, texts: EndpointTexts, index: number) {
    this.traits = traits;
    this.#texts = texts;
    this.#index = index;
  }

  get address(): string {
    return (this.#address ??= this.#texts.address(this.#index));
  }

  get workload(): string {
    return (this.#workload ??= this.#texts.workload(this.#index));
  }

  get host(): string {
    if (this.traits.port === 0) return this.address;
    const host = this.address.slice(0, this.address.lastIndexOf(":"));
    return host.includes(":") ? host.slice(1, -1) : host;
  }

  get port(): number {
    return this.traits.port;
  }

  get weight(): number {
    return this.traits.weight;
  }

  get health(): EndpointConfig["health"] {
    return this.traits.health;
  }

  get tlsMode(): string {
    return this.traits.tlsMode;
  }

  get hashKey(): string | undefined {
    return this.traits.hashKey;
  }
}

/** Looked through for each endpoint; one that differs from all of these has traits of its own. */
const most = 8;

/** The traits that were met so far, one object for equal ones. */
export class KnownTraits {
  readonly #known: EndpointTraits[] = [];

  /** `like` is not kept. */
  of({ port, weight, health, tlsMode, hashKey }: EndpointTraits): EndpointTraits {
    const known = this.#known;
    // Nobody else has its key. By index: before it is optimised an iterator is three objects a look.
    if (hashKey === undefined)
      for (let at = 0; at < known.length; at++) {
        const each = known[at]!;
        if (each.port === port && each.weight === weight && each.health === health && each.tlsMode === tlsMode)
          return each;
      }
    const traits = { port, weight, health, tlsMode, hashKey };
    if (hashKey === undefined && known.length < most) known.push(traits);
    return traits;
  }
}
