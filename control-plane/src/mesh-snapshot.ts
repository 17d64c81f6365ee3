import type { ResourceCache } from "./generate/cache.ts";
import { allNames, recipe } from "./generate/recipes.ts";
import type { Model } from "./model/model.ts";
import type { NodeView, Snapshot, WireResource } from "./snapshot.ts";

/** A name has as many spellings as its letters have cases, and each is kept under its own. */
const capacity = 100_000;

/**
 * A model, cut for whoever asks. Nothing is generated before it is asked for, and most of it only once for all nodes of a
 * namespace.
 */
export class MeshSnapshot implements Snapshot {
  readonly version: string;
  readonly #model: Model;
  readonly #cache: ResourceCache;
  /** Answers of this snapshot that hold for a whole namespace: found without looking at the model again. */
  readonly #shared = new Map<string, WireResource>();

  constructor(version: string, model: Model, cache: ResourceCache) {
    this.version = version;
    this.#model = model;
    this.#cache = cache;
  }

  resource(node: NodeView, typeUrl: string, name: string): WireResource | undefined {
    const key = `${node.kind} ${node.namespace} ${typeUrl} ${name}`;
    const known = this.#shared.get(key);
    if (known !== undefined) return known;
    const how = recipe(this.#model, node, typeUrl, name);
    if (how === undefined) return undefined;
    const resource = this.#cache.get(`${key} ${how.variant}`, how);
    if (how.shared && this.#shared.size < capacity) this.#shared.set(key, resource);
    return resource;
  }

  names(node: NodeView, typeUrl: string): Iterable<string> {
    return allNames(this.#model, node, typeUrl);
  }
}
