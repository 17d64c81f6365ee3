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
  const end = files.sets.subscribe((set) => {
    if (set === undefined) return;
    // An empty first snapshot would delete everything at every client (S25).
    if (!set.complete && snapshot.value === undefined) return diagnostics.set(set.diagnostics);
    const state = applied(store, set, snapshot.value);
    // Findings first: who hears of a new snapshot can look at what came with it.
    diagnostics.set([...set.diagnostics, ...state.diagnostics].sort(compareDiagnostics));
    snapshot.set(state.snapshot);
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
      await files.close();
    },
  };
}

/** A mistake of ours in some corner of a check must not end the server: the last good configuration stays, and it is told. */
function applied(store: ConfigStore, set: FileSet, last: Snapshot | undefined): ConfigState {
  try {
    return store.apply(set.files);
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    const message = `internal error (${reason}), please report it; the last good configuration stays in force`;
    const file = set.files.keys().next().value ?? "";
    return { snapshot: last, diagnostics: [{ severity: "error", code: "source", file, line: 1, column: 1, message }] };
  }
}
