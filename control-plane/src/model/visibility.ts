/** Who may use an object: everyone, or callers from certain namespaces (`exportTo`, istio-api §1.3). */
export interface Visibility {
  readonly all: boolean;
  /** Empty when `all`. */
  readonly namespaces: ReadonlySet<string>;
}

/**
 * Stands for any namespace that no object names: it sees what is exported to all. No real namespace has a name with a
 * star.
 */
export const anyNamespace = "*";

/** Without `exportTo`, all may use it. */
export function visibility(exportTo: readonly string[] | undefined, own: string): Visibility {
  if (exportTo === undefined || exportTo.length === 0 || exportTo.includes("*")) {
    return { all: true, namespaces: new Set() };
  }
  if (exportTo.includes("~")) return { all: false, namespaces: new Set() };
  return { all: false, namespaces: new Set(exportTo.map((entry) => (entry === "." ? own : entry))) };
}

export function isVisible(visible: Visibility, namespace: string): boolean {
  return visible.all || visible.namespaces.has(namespace);
}

/**
 * Two objects want the same place for the same callers. One that is meant for certain namespaces goes before one for all,
 * so these two do not collide.
 */
export function collide(a: Visibility, b: Visibility): boolean {
  return a.all && b.all ? true : [...a.namespaces].some((namespace) => b.namespaces.has(namespace));
}
