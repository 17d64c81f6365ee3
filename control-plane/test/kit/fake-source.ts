import { createHash } from "node:crypto";
import type { NodeView, Snapshot, SnapshotSource, WireResource } from "../../src/snapshot.ts";
import { Watch } from "../../src/watch.ts";

/** Contents by type and name. A name that begins with `<namespace>/` is visible to that namespace alone. */
export type Contents = Readonly<Record<string, Readonly<Record<string, string>>>>;

export interface FakeSource extends SnapshotSource {
  publish(contents: Contents): void;
  /** How many resources were looked up. */
  lookups: number;
}

/** A source of snapshots that a test writes by hand. Starts without any (S25). */
export function fakeSource(first?: Contents): FakeSource {
  const watch = new Watch<Snapshot | undefined>(undefined);
  const source: FakeSource = {
    lookups: 0,
    get current() {
      return watch.value;
    },
    diagnostics: [],
    subscribe: (fn) => watch.subscribe((snapshot) => snapshot !== undefined && fn(snapshot)),
    onDiagnostics: () => () => {},
    close: async () => {},
    publish: (contents) => watch.set(snapshotOf(contents, () => (source.lookups += 1))),
  };
  if (first !== undefined) source.publish(first);
  return source;
}

function snapshotOf(contents: Contents, lookedUp: () => void): Snapshot {
  const made = new Map<string, WireResource>();
  for (const [typeUrl, byName] of Object.entries(contents)) {
    for (const [name, content] of Object.entries(byName)) {
      const bytes = Buffer.from(`${name}=${content}`);
      made.set(`${typeUrl} ${name}`, { typeUrl, name, version: hash(content), bytes });
    }
  }
  const visible = (node: NodeView, name: string): boolean =>
    !name.includes("/") || name.startsWith(`${node.namespace}/`);
  return {
    version: hash(JSON.stringify(contents)),
    resource(node, typeUrl, name) {
      lookedUp();
      return visible(node, name) ? made.get(`${typeUrl} ${name}`) : undefined;
    },
    names: (node, typeUrl) => Object.keys(contents[typeUrl] ?? {}).filter((name) => visible(node, name)),
  };
}

export function hash(text: string): string {
  return createHash("sha256").update(text).digest("hex").slice(0, 12);
}
