import { createHash } from "node:crypto";

import { type Diagnostic, compareDiagnostics } from "./diagnostics.ts";
import { ResourceCache } from "./generate/cache.ts";
import { MeshSnapshot } from "./mesh-snapshot.ts";
import type { MeshSettings } from "./model/mesh.ts";
import type { Model } from "./model/model.ts";
import type { Snapshot } from "./snapshot.ts";
import { securityKinds } from "./sources/istio/kinds.ts";
import type { FileState } from "./sources/files.ts";
import { type FileContent, noContent, readFile } from "./sources/file-content.ts";
import type { ConfigObject, Content } from "./sources/object.ts";
import { check } from "./translate/check/check.ts";
import { checkDuplicates } from "./translate/check/duplicates.ts";
import { Translator } from "./translate/translator.ts";

export interface ConfigState {
  /** `undefined`: nothing may be served yet. */
  readonly snapshot: Snapshot | undefined;
  readonly diagnostics: readonly Diagnostic[];
}

/** Files that are right together, and what was found on the way to them. */
interface Choice {
  readonly chosen: ReadonlyMap<string, FileContent>;
  readonly model: Model;
  readonly findings: readonly Diagnostic[];
}

/** Of reading, in one turn of the event loop. */
const sliceMs = 10;

interface ReadFile {
  readonly state: FileState;
  readonly content: FileContent;
}

/**
 * Decides which version of each file is in force. A file takes effect only if it is right in itself and together with all
 * others (S19); otherwise its last good version stays, and if the fault lies in what was left out elsewhere, the whole last
 * good configuration does. At the very first start there is no last good version: a faulty file contributes nothing, unless
 * it holds rules about access; serving without those would open what they close, so nothing is served until it is mended.
 */
export class ConfigStore {
  readonly #translator: Translator;
  readonly #cache = new ResourceCache();
  #read = new Map<string, ReadFile>();
  #inForce: ReadonlyMap<string, FileContent> = new Map();
  #contents = new Map<string, Content>();
  #snapshot: MeshSnapshot | undefined;

  constructor(mesh: MeshSettings) {
    this.#translator = new Translator(mesh);
  }

  apply(files: ReadonlyMap<string, FileState>): ConfigState {
    const reading = this.#readAll(files);
    while (reading.next().done !== true);
    return this.#conclude(files);
  }

  /** The same, but reads in slices: whoever is served meanwhile has turns in between. One at a time. */
  async applyInTurns(
    files: ReadonlyMap<string, FileState>,
    nextTurn: () => Promise<void>,
    clock: () => number = () => performance.now(),
  ): Promise<ConfigState> {
    let sinceMs = clock();
    for (const _ of this.#readAll(files)) {
      if (clock() - sinceMs < sliceMs) continue;
      await nextTurn();
      sinceMs = clock();
    }
    return this.#conclude(files);
  }

  #conclude(files: ReadonlyMap<string, FileState>): ConfigState {
    const wanted = new Map<string, FileContent>();
    const diagnostics: Diagnostic[] = [];
    for (const [file, { content }] of this.#read) {
      diagnostics.push(...content.diagnostics);
      const usable = content.diagnostics.length === 0 ? content : this.#inForce.get(file);
      if (usable !== undefined) wanted.set(file, usable);
    }
    const { chosen, model, findings } = this.#choose(wanted);
    diagnostics.push(...findings);
    const held = this.#snapshot === undefined ? this.#heldBy(files, chosen) : undefined;
    if (held !== undefined) diagnostics.push(held);
    else this.#putInForce(chosen, model);
    return { snapshot: this.#snapshot, diagnostics: unique(diagnostics).sort(compareDiagnostics) };
  }

  /** Only what changed is read again; equal contents keep their identity. */
  *#readAll(files: ReadonlyMap<string, FileState>): Generator<undefined, void> {
    const read = new Map<string, ReadFile>();
    for (const [file, state] of [...files].sort(([a], [b]) => (a < b ? -1 : 1))) {
      const before = this.#read.get(file);
      const content =
        before !== undefined && sameState(before.state, state)
          ? before.content
          : yield* this.#readOne(file, state, before?.content);
      read.set(file, { state, content });
    }
    this.#read = read;
  }

  *#readOne(file: string, state: FileState, before: FileContent | undefined): Generator<undefined, FileContent> {
    if ("text" in state)
      return yield* readFile(file, state.text, (content) => this.#contents.get(content.hash) ?? content, before);
    return noContent({ severity: "error", code: "source", file, line: 1, column: 1, message: state.fault });
  }

  /** Takes files with faults back to their last good version, until what is left is right together. */
  #choose(wanted: ReadonlyMap<string, FileContent>): Choice {
    const chosen = new Map(wanted);
    const findings: Diagnostic[] = [];
    for (;;) {
      const objects = [...chosen.values()].flatMap((content) => content.objects);
      const duplicates = [...checkDuplicates(objects)];
      const model = this.#translator.model(objects.map(({ content }) => content));
      // Two objects of one name make every further finding doubtful.
      const found = duplicates.length > 0 ? duplicates : check(objects, model, this.#translator);
      findings.push(...found);
      const faulty = new Set(found.filter(({ severity }) => severity === "error").map(({ file }) => file));
      if (faulty.size === 0) return { chosen, model, findings };
      const revertible = [...faulty].filter((file) => chosen.get(file) !== this.#inForce.get(file));
      // The fault shows in a file that did not change: something it needs went away elsewhere.
      if (revertible.length === 0) return this.#unchanged(findings);
      for (const file of revertible) restore(chosen, this.#inForce, file);
    }
  }

  #unchanged(findings: readonly Diagnostic[]): Choice {
    const model = this.#translator.model(contentsOf(this.#inForce));
    return { chosen: this.#inForce, model, findings };
  }

  /** At the first start: a file that cannot be used and speaks of access. */
  #heldBy(files: ReadonlyMap<string, FileState>, chosen: ReadonlyMap<string, FileContent>): Diagnostic | undefined {
    const pattern = new RegExp(String.raw`\bkind["']?\s*:\s*["']?(${securityKinds.join("|")})\b`);
    for (const [file, state] of files) {
      if (chosen.has(file) || !("text" in state) || !pattern.test(state.text)) continue;
      const message =
        "holds rules about access and cannot be used: nothing is served until it is mended, since without it more would be allowed";
      return { severity: "error", code: "source", file, line: 1, column: 1, message };
    }
    return undefined;
  }

  #putInForce(chosen: ReadonlyMap<string, FileContent>, model: Model): void {
    this.#inForce = chosen;
    const contents = contentsOf(chosen);
    this.#contents = new Map(contents.map((content) => [content.hash, content]));
    const version = versionOf(contents);
    if (version !== this.#snapshot?.version)
      this.#snapshot = new MeshSnapshot(version, model, this.#cache, this.#snapshot);
  }
}

function sameState(a: FileState, b: FileState): boolean {
  return "text" in a ? "text" in b && a.text === b.text : "fault" in b && a.fault === b.fault;
}

function restore(chosen: Map<string, FileContent>, inForce: ReadonlyMap<string, FileContent>, file: string): void {
  const good = inForce.get(file);
  if (good === undefined) chosen.delete(file);
  else chosen.set(file, good);
}

function contentsOf(files: ReadonlyMap<string, FileContent>): readonly Content[] {
  return [...files.values()].flatMap(({ objects }) => objects.map(({ content }: ConfigObject) => content));
}

/** Of what is said, not of where: equal on all replicas and after a restart (S4). */
function versionOf(contents: readonly Content[]): string {
  const hashes = contents.map(({ hash }) => hash).sort();
  return createHash("sha256").update(hashes.join("\n")).digest("base64url").slice(0, 16);
}

function unique(diagnostics: readonly Diagnostic[]): Diagnostic[] {
  return [...new Map(diagnostics.map((each) => [JSON.stringify(each), each])).values()];
}
