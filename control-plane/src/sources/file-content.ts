import type { Diagnostic } from "../diagnostics.ts";
import { type Part, divide } from "./divide.ts";
import { type ConfigObject, type Content, type Intern, Place, PlacedObject, readObject } from "./object.ts";
import { readYaml, tooManyDocuments, yamlBounds } from "./yaml.ts";

/** What a file says. */
export interface FileContent {
  readonly objects: readonly ConfigObject[];
  /** With an error among them, the objects are not to be used. */
  readonly diagnostics: readonly Diagnostic[];
  /** By their texts, for the next version of the file: most of it will be the same. */
  readonly parts: ReadonlyMap<string, ReadPart>;
}

/** A part of a file, wherever in the file it stands. */
interface ReadPart {
  readonly contents: readonly { readonly index: number; readonly content: Content }[];
  /** Lines are those of the part. */
  readonly diagnostics: readonly Diagnostic[];
  readonly nodes: number;
}

/** A file that says nothing, for this reason or none. */
export function noContent(...diagnostics: readonly Diagnostic[]): FileContent {
  return { objects: [], diagnostics, parts: new Map() };
}

/**
 * The objects of one file, and everything that is wrong in it. Stops after each part that had to be read, so that whoever asks can do something
 * else in between: a thousand documents take half a second.
 */
export function* readFile(
  file: string,
  text: string,
  intern: Intern,
  before: FileContent | undefined,
): Generator<undefined, FileContent> {
  const objects: ConfigObject[] = [];
  const diagnostics: Diagnostic[] = [];
  const parts = new Map<string, ReadPart>();
  let left: number = yamlBounds.nodes;
  const divided = divide(text);
  const tooMany = divided[yamlBounds.documents];
  if (tooMany !== undefined)
    return noContent({
      severity: "error",
      code: "yaml",
      file,
      line: tooMany.line + 1,
      column: 1,
      message: tooManyDocuments,
    });
  for (const part of divided) {
    let read = parts.get(part.text) ?? before?.parts.get(part.text);
    if (read === undefined || read.nodes > left) {
      read = readPart(file, part, intern, left);
      yield;
    }
    parts.set(part.text, read);
    left -= read.nodes;
    for (const { index, content } of read.contents)
      objects.push(new PlacedObject(content, new Place(file, part.text, index, part.line)));
    for (const found of read.diagnostics) diagnostics.push({ ...found, line: found.line + part.line });
    // More than anyone reads, and of a hostile file no end.
    if (diagnostics.length >= maxFindings) break;
  }
  return { objects, diagnostics, parts };
}

const maxFindings = 200;

function readPart(file: string, { text }: Part, intern: Intern, maxNodes: number): ReadPart {
  const { documents, faults, nodes } = readYaml(text, maxNodes);
  const diagnostics = faults.map((fault): Diagnostic => ({ severity: "error", code: "yaml", file, ...fault }));
  const contents: ReadPart["contents"][number][] = [];
  for (const [index, { value }] of faults.length > 0 ? [] : documents.entries()) {
    // Nothing between two `---`.
    if (value === undefined || value === null) continue;
    const read = readObject(new Place(file, text, index, 0), value, intern);
    if ("content" in read) contents.push({ index, content: read.content });
    else diagnostics.push(...read.diagnostics);
  }
  return { contents, diagnostics, nodes };
}
