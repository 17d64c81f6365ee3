import { setImmediate } from "node:timers/promises";

import { type ConfigState, ConfigStore } from "./config-store.ts";
import { type Diagnostic, compareDiagnostics } from "./diagnostics.ts";
import type { MeshSettings } from "./model/mesh.ts";
import type { Snapshot, SnapshotSource } from "./snapshot.ts";
import { type FileSet, FileSource, type FileTiming } from "./sources/files.ts";
import { Watch } from "./watch.ts";

export interface ConfigurationOptions {
  /** Folders of YAML, watched; what is in all of them is one configuration. */
  readonly folders: readonly string[];
  readonly mesh: MeshSettings;
  /** For tests. */
  readonly timing?: FileTiming;
}

/** Files in, snapshots out. `current` is there as soon as all folders were read once. */
export function openConfiguration({ folders, mesh, timing }: ConfigurationOptions): SnapshotSource {
  const store = new ConfigStore(mesh);
  const files = new FileSource(folders, timing);
  const snapshot = new Watch<Snapshot | undefined>(undefined);
  const diagnostics = new Watch<readonly Diagnostic[]>([]);
  let newest: FileSet | undefined;
  let working: Promise<void> | undefined;
  let closed = false;
  // One set after the other, and of those that came meanwhile the last: a change that is begun is never given up for the next, or a busy
  // folder would keep everything from taking effect.
  const work = async (): Promise<void> => {
    for (let set = newest; set !== undefined; set = newest) {
      newest = undefined;
      const state = await applied(store, set, snapshot.value);
      if (closed) break;
      // Findings first: who hears of a new snapshot can look at what came with it.
      diagnostics.set([...set.diagnostics, ...state.diagnostics].sort(compareDiagnostics));
      snapshot.set(state.snapshot);
    }
    working = undefined;
  };
  const end = files.sets.subscribe((set) => {
    if (set === undefined) return;
    // An empty first snapshot would delete everything at every client (S25).
    if (!set.complete && snapshot.value === undefined) return diagnostics.set(set.diagnostics);
    newest = set;
    working ??= work();
  });
  return {
    get current() {
      return snapshot.value;
    },
    subscribe: (fn) =>
      snapshot.subscribe((value) => {
        if (value !== undefined) fn(value);
      }),
    get diagnostics() {
      return diagnostics.value;
    },
    onDiagnostics: (fn) => diagnostics.subscribe(fn),
    close: async () => {
      end();
      closed = true;
      await files.close();
      await working;
    },
  };
}

/** A mistake of ours in some corner of a check must not end the server: the last good configuration stays, and it is told. */
async function applied(store: ConfigStore, set: FileSet, last: Snapshot | undefined): Promise<ConfigState> {
  try {
    return await store.applyInTurns(set.files, setImmediate);
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    const message = `internal error (${reason}), please report it; the last good configuration stays in force`;
    const file = set.files.keys().next().value ?? "";
    return { snapshot: last, diagnostics: [{ severity: "error", code: "source", file, line: 1, column: 1, message }] };
  }
}
