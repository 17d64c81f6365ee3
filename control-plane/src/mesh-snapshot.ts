import type { ResourceCache } from "./generate/cache.ts";
import { allNames, basis, recipe } from "./generate/recipes.ts";
import { getOrMake } from "./model/host-index.ts";
import { type Model, viewOf } from "./model/model.ts";
import { sameItems } from "./model/reuse.ts";
import type { NodeView, Snapshot, WireResource } from "./snapshot.ts";

/** A name has as many spellings as its letters have cases, and each is kept under its own. */
const capacity = 100_000;

/**
 * A model, cut for whoever asks. Nothing is generated before it is asked for, and most of it only once for all nodes of a
 * namespace that see the same of the mesh.
 */
export class MeshSnapshot implements Snapshot {
  readonly version: string;
  readonly #model: Model;
  readonly #cache: ResourceCache;
  /**
   * By type: answers that hold for a whole namespace, found without looking at the model. They are handed on from snapshot to
   * snapshot as long as the parts of the model that they come from stay the same.
   */
  readonly #shared = new Map<string, Map<string, WireResource>>();

  constructor(version: string, model: Model, cache: ResourceCache, previous: MeshSnapshot | undefined) {
    this.version = version;
    this.#model = model;
    this.#cache = cache;
    if (previous === undefined) return;
    for (const [typeUrl, shared] of previous.#shared) {
      if (sameItems(basis(previous.#model, typeUrl), basis(model, typeUrl))) this.#shared.set(typeUrl, shared);
    }
  }

  resource(node: NodeView, typeUrl: string, name: string): WireResource | undefined {
    const scope = viewOf(this.#model, node);
    const seenBy = scope === undefined ? node.namespace : `${node.namespace}|${scope.namespace}/${scope.name}`;
    const key = `${node.kind}${node.proxy?.id ?? ""} ${seenBy} ${name}`;
    const known = this.#shared.get(typeUrl)?.get(key);
    if (known !== undefined) return known;
    const how = recipe(this.#model, node, typeUrl, name);
    if (how === undefined) return undefined;
    const resource = this.#cache.get(`${typeUrl} ${key} ${how.variant}`, how);
    if (how.shared) this.#keep(typeUrl, key, resource);
    return resource;
  }

  names(node: NodeView, typeUrl: string): Iterable<string> {
    return allNames(this.#model, node, typeUrl);
  }

  #keep(typeUrl: string, key: string, resource: WireResource): void {
    const shared = getOrMake(this.#shared, typeUrl, () => new Map<string, WireResource>());
    if (shared.size < capacity) shared.set(key, resource);
  }
}
