import type { ClusterConfig, InboundListener, MeshConfig, OutboundListener } from "@trama/engine";

import type { Published } from "./published.ts";

/** What becomes of a configuration: its maps are copied when the first of their entries changes. */
export class ConfigChange {
  readonly #old: MeshConfig;
  #outbound: Map<string, OutboundListener> | undefined = undefined;
  #inbound: Map<string, InboundListener> | undefined = undefined;
  #clusters: Map<string, ClusterConfig> | undefined = undefined;
  /** Names that came to be needed, or are not any more. */
  readonly routes: Set<string> = new Set();
  readonly named: Set<string> = new Set();
  readonly used: Set<string> = new Set();
  readonly endpoints: Set<string> = new Set();

  constructor(old: MeshConfig) {
    this.#old = old;
  }

  root(before: Published | undefined, now: Published | undefined): void {
    if (before?.side === "outbound") (this.#outbound ??= new Map(this.#old.outbound)).delete(before.config.name);
    else if (before !== undefined) (this.#inbound ??= new Map(this.#old.inbound)).delete(before.config.name);
    if (now?.side === "outbound") (this.#outbound ??= new Map(this.#old.outbound)).set(now.config.name, now.config);
    else if (now !== undefined) (this.#inbound ??= new Map(this.#old.inbound)).set(now.config.name, now.config);
  }

  cluster(name: string, config: ClusterConfig | undefined): void {
    this.#clusters ??= new Map(this.#old.clusters);
    if (config === undefined) this.#clusters.delete(name);
    else this.#clusters.set(name, config);
  }

  /** The old one where nothing changed. */
  result(): MeshConfig {
    const { outbound, inbound, clusters } = this.#old;
    if (this.#outbound === undefined && this.#inbound === undefined && this.#clusters === undefined) return this.#old;
    return {
      outbound: this.#outbound ?? outbound,
      inbound: this.#inbound ?? inbound,
      clusters: this.#clusters ?? clusters,
    };
  }
}
