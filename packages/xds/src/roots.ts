import { type Clock, type Timer, parseAddress } from "@trama/engine";

import type { Asked } from "./assemble.ts";
import type { Outcome, Root } from "./published.ts";
import { type Bootstrap, inboundListenerTemplate } from "./bootstrap.ts";
import { XdsError } from "./errors.ts";

export interface RootsOptions {
  readonly bootstrap: Bootstrap;
  readonly clock: Clock;
  readonly waitTimeoutMs: number;
  readonly maxNames: number;
  readonly outcome: (resource: string) => Outcome;
  /** What to tell somebody whose patience ended. */
  readonly why: (waitingFor: string) => XdsError;
}

type Answer = "found" | "missing";

interface OwnRoot extends Root {
  readonly waiters: Set<Waiter>;
}

interface Waiter {
  readonly settle: (answer: Answer | XdsError) => void;
}

/** The listeners that this process asked for, in the order of last asking, and who waits for an answer about them. */
export class Roots implements Asked {
  readonly #options: RootsOptions;
  readonly #byResource = new Map<string, OwnRoot>();
  #moved = new Set<string>();

  constructor(options: RootsOptions) {
    this.#options = options;
  }

  byResource(resource: string): Root | undefined {
    return this.#byResource.get(resource);
  }

  takeMoved(): Iterable<string> {
    const moved = this.#moved;
    this.#moved = new Set();
    return moved;
  }

  /** Idempotent. `added`: it was not wanted before. */
  ask(side: Root["side"], key: string): { answer: Promise<Answer>; added: boolean } {
    const resource = this.#resourceName(side, key);
    if (resource instanceof XdsError) return { answer: Promise.reject(resource), added: false };
    const known = this.#byResource.get(resource);
    if (known !== undefined && known.side !== side) {
      const message = `${key} is already asked for as ${known.side}; the bootstrap's listener templates must differ`;
      return { answer: Promise.reject(new XdsError("BOOTSTRAP_INVALID", message)), added: false };
    }
    if (known === undefined && !this.#makeRoom()) {
      const message = `${this.#options.maxNames} names are asked for and all of them are waited for; raise maxNames`;
      return { answer: Promise.reject(new XdsError("LIMIT_EXCEEDED", message)), added: false };
    }
    if (known === undefined) this.#moved.add(resource);
    const root: OwnRoot = known ?? { side, key, resource, waiters: new Set() };
    // To the end: the names at the front are those that nobody asked about for longest.
    this.#byResource.delete(resource);
    this.#byResource.set(resource, root);
    return { answer: this.#answer(root), added: known === undefined };
  }

  release(side: Root["side"], key: string): boolean {
    const resource = this.#resourceName(side, key);
    if (resource instanceof XdsError) return false;
    const root = this.#byResource.get(resource);
    if (root?.side !== side) return false;
    this.#byResource.delete(resource);
    this.#moved.add(resource);
    const error = new XdsError("CLOSED", `${key} was released while it was waited for`, { field: resource });
    for (const waiter of root.waiters) waiter.settle(error);
    return true;
  }

  /** Tells all whose answer is there now. */
  settle(): void {
    for (const root of this.#byResource.values()) {
      if (root.waiters.size === 0) continue;
      const answer = this.#known(root);
      if (answer === undefined) continue;
      for (const waiter of root.waiters) waiter.settle(answer);
    }
  }

  /** Ends the waiting of all; the names stay wanted. */
  fail(error: XdsError): void {
    for (const root of this.#byResource.values()) for (const waiter of root.waiters) waiter.settle(error);
  }

  close(error: XdsError): void {
    this.fail(error);
  }

  /** By value: `::1` and `0:0:0:0:0:0:0:1` are the same address. */
  sameAddress(a: string, b: string): boolean {
    if (a === b) return true;
    const [left, right] = [split(a), split(b)];
    return left.port === right.port && left.address !== undefined && left.address === right.address;
  }

  #known(root: Root): Answer | XdsError | undefined {
    const outcome = this.#options.outcome(root.resource);
    if (outcome.kind === "waiting") return undefined;
    if (outcome.kind !== "invalid") return outcome.kind;
    const message = `${root.resource}: the control plane's configuration was refused: ${outcome.message}`;
    return new XdsError("RESOURCE_INVALID", message, { field: root.resource });
  }

  #answer(root: OwnRoot): Promise<Answer> {
    const known = this.#known(root);
    if (known instanceof XdsError) return Promise.reject(known);
    if (known !== undefined) return Promise.resolve(known);
    return new Promise((resolve, reject) => {
      let timer: Timer | undefined = undefined;
      const waiter: Waiter = {
        settle: (answer) => {
          timer?.cancel();
          root.waiters.delete(waiter);
          if (answer instanceof XdsError) reject(answer);
          else resolve(answer);
        },
      };
      root.waiters.add(waiter);
      timer = this.#options.clock.after(this.#options.waitTimeoutMs, () => {
        const outcome = this.#options.outcome(root.resource);
        waiter.settle(this.#options.why(outcome.kind === "waiting" ? outcome.waitingFor : root.resource));
      });
    });
  }

  /**
   * Bounded: names come from requests, which may come from anywhere. First go names that do not exist, then the one asked
   * about longest ago; never an inbound one, nor one that is waited for.
   */
  #makeRoom(): boolean {
    if (this.#byResource.size < this.#options.maxNames) return true;
    let oldest: OwnRoot | undefined;
    for (const root of this.#byResource.values()) {
      if (root.side === "inbound" || root.waiters.size > 0) continue;
      oldest ??= root;
      if (this.#options.outcome(root.resource).kind !== "missing") continue;
      oldest = root;
      break;
    }
    if (oldest === undefined) return false;
    this.#moved.add(oldest.resource);
    return this.#byResource.delete(oldest.resource);
  }

  /** BS10, BS11: the templates say how a listener is called at the control plane. */
  #resourceName(side: Root["side"], key: string): string | XdsError {
    const { clientListenerTemplate, serverListenerTemplate } = this.#options.bootstrap;
    const template = side === "outbound" ? clientListenerTemplate : serverListenerTemplate;
    if (template === undefined) {
      const field = "server_listener_resource_name_template";
      const message = `bootstrap: ${field} is missing, so no server can be configured. Istio's is ${inboundListenerTemplate}`;
      return new XdsError("BOOTSTRAP_INVALID", message, { field });
    }
    const text = template.startsWith("xdstp:") ? encodeURIComponent(key) : key;
    return template.replaceAll("%s", () => text);
  }
}

function split(text: string): { address: string | undefined; port: string } {
  const at = text.lastIndexOf(":");
  const address = parseAddress(text.slice(0, at).replace(/^\[|\]$/g, ""));
  return { address: address?.join(","), port: text.slice(at + 1) };
}
