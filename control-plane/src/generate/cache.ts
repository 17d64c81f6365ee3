import { sameItems } from "../model/reuse.ts";
import type { WireResource } from "../snapshot.ts";

/** How to make a resource, and what it depends on. */
export interface Recipe {
  /** What distinguishes it from the others of its type and name; part of the key. */
  readonly variant: string;
  /** The same items (by identity) make the same resource. */
  readonly inputs: readonly unknown[];
  /** All nodes of one namespace and kind get the same. */
  readonly shared: boolean;
  make(): WireResource;
}

/** Far more than a mesh of ten thousand services has, far less than a hostile client could ask for. */
const capacity = 100_000;

/**
 * What was generated, across snapshots. An entry is made anew when its inputs changed; if that gives the same bytes, the
 * old object stays, and nobody is told anything (S24).
 */
export class ResourceCache {
  readonly #entries = new Map<string, { readonly inputs: readonly unknown[]; readonly resource: WireResource }>();

  get(key: string, recipe: Recipe): WireResource {
    const entry = this.#entries.get(key);
    if (entry !== undefined && sameItems(entry.inputs, recipe.inputs)) return entry.resource;
    const made = recipe.make();
    const resource = entry?.resource.version === made.version ? entry.resource : made;
    // The newest at the end: what falls out was made longest ago.
    this.#entries.delete(key);
    this.#entries.set(key, { inputs: recipe.inputs, resource });
    if (this.#entries.size > capacity) {
      const oldest = this.#entries.keys().next();
      if (!oldest.done) this.#entries.delete(oldest.value);
    }
    return resource;
  }
}
