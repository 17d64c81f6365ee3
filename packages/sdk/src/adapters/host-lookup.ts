import { type Engine, MeshError } from "@trama/engine";
import type { XdsClient, XdsError } from "@trama/xds";

/** Calls that may wait for the first configuration of their host, all hosts together. */
const maxWaiting = 1_024;
/** Hosts remembered as unknown to the mesh; fewer than xds holds names for, so that what is forgotten there is asked again. */
const maxUnknown = 1_000;

export interface LookupOptions {
  readonly engine: Engine;
  readonly discovery: Pick<XdsClient, "outbound">;
}

/** `mesh`: the snapshot has it. `opaque`: the same, and it takes connections, not requests. `stranger`: the control plane said that there is no such host. `unasked`: nobody knows yet. */
export type Standing = "mesh" | "opaque" | "stranger" | "unasked";

/**
 * What the mesh knows of a host, on demand: one that is heard of for the first time is asked of the control plane once, while its calls
 * wait. When nobody can say, the call fails: never plaintext by accident (dataplane.md §23 rule 6).
 */
export class HostLookup {
  readonly #options: LookupOptions;
  /** Asked for, no answer yet. */
  readonly #asking = new Map<string, Promise<"found" | "missing">>();
  /** Should a host of these appear, the snapshot has it, and is looked at first. */
  readonly #unknown = new Set<string>();
  #waiting = 0;

  constructor(options: LookupOptions) {
    this.#options = options;
  }

  of(listener: string): Standing {
    const { current } = this.#options.engine;
    if (current.outbound(listener) !== undefined) return "mesh";
    if (current.opaque(listener) !== undefined) return "opaque";
    return this.#unknown.has(listener) ? "stranger" : "unasked";
  }

  /** Whether the control plane is being asked. */
  asking(listener: string): boolean {
    return this.#asking.has(listener);
  }

  /** What the host is, or why that cannot be said. Never rejects. */
  async ask(listener: string): Promise<Exclude<Standing, "unasked"> | MeshError> {
    if (this.#waiting >= maxWaiting)
      return new MeshError("OVERFLOW", `${maxWaiting} calls wait for the configuration of their hosts already`);
    this.#waiting++;
    let asking = this.#asking.get(listener);
    if (asking === undefined) {
      asking = this.#options.discovery.outbound(listener).finally(() => this.#asking.delete(listener));
      this.#asking.set(listener, asking);
    }
    try {
      const answer = await asking;
      if (answer === "missing") this.#remember(listener);
      if (answer !== "found") return "stranger";
      return this.#options.engine.current.opaque(listener) === undefined ? "mesh" : "opaque";
    } catch (thrown) {
      return MeshError.from(thrown, (thrown as XdsError).code === "CLOSED" ? "CLOSED" : "NO_CONFIG");
    } finally {
      this.#waiting--;
    }
  }

  #remember(listener: string): void {
    if (this.#unknown.size >= maxUnknown) this.#unknown.delete(this.#unknown.values().next().value!);
    this.#unknown.add(listener);
  }
}
