import {
  type Alias,
  type Node,
  type Pair,
  Composer,
  LineCounter,
  Parser,
  type Document,
  isAlias,
  isMap,
  isPair,
  isScalar,
  isSeq,
} from "yaml";

import { camelCase } from "./names.ts";

export interface Position {
  /** From 1. */
  readonly line: number;
  /** From 1. */
  readonly column: number;
}

export interface YamlFault extends Position {
  readonly message: string;
}

export type Path = readonly (string | number)[];

/** Bounds of one file: hostile or broken input must cost neither the stack nor the memory (dataplane §25, row 27). */
export const yamlBounds = { depth: 48, documents: 2_000, nodes: 200_000, faults: 20 } as const;

export const tooManyDocuments: string = `more than ${yamlBounds.documents} documents: divide the file`;

export interface YamlDocument {
  /** Plain data; objects have no prototype, so that a name like `constructor` is just a name. */
  readonly value: unknown;
  /** Where the document begins. */
  readonly start: Position;
}

export interface YamlText {
  readonly documents: readonly YamlDocument[];
  readonly faults: readonly YamlFault[];
  /** How many values it is, aliases written out. */
  readonly nodes: number;
}

/** Reads some documents, which may be so many values. With faults, the documents are not to be used. */
export function readYaml(text: string, maxNodes: number = yamlBounds.nodes): YamlText {
  const { documents, lines, faults } = compose(text);
  if (faults.length > 0) return { documents: [], faults, nodes: 0 };
  const reader = new Reader(lines, maxNodes);
  const read = documents.map((document) => ({
    value: document.contents === null ? undefined : reader.value(document.contents, document),
    start: at(lines, document.contents?.range?.[0] ?? document.range[0]),
  }));
  return { documents: read, faults: reader.faults, nodes: maxNodes - reader.left };
}

/**
 * Where a path of a document stands: the value itself, or with `key` the name in front of it. A path that does not exist
 * leads to the nearest thing that does. Positions are wanted only when something is wrong, so the text is read again
 * instead of keeping every syntax tree in memory.
 */
export function locate(text: string, index: number, path: Path, key: boolean): Position {
  const { documents, lines } = compose(text);
  const document = documents[index];
  let node: Node | null | undefined = document?.contents;
  let offset = node?.range?.[0] ?? document?.range[0] ?? 0;
  for (const [depth, segment] of path.entries()) {
    node = document !== undefined && isAlias(node) ? node.resolve(document) : node;
    if (isMap(node)) {
      const pair = node.items.find((item) => isNamed(item, String(segment)));
      if (pair === undefined) break;
      const last = depth === path.length - 1;
      const wanted = last && key ? pair.key : (pair.value ?? pair.key);
      offset = (wanted as Node).range?.[0] ?? offset;
      node = pair.value as Node | null;
    } else if (isSeq(node)) {
      node = node.items[Number(segment)] as Node | undefined;
      offset = node?.range?.[0] ?? offset;
    } else break;
  }
  return at(lines, offset);
}

function isNamed(pair: Pair, name: string): boolean {
  if (!isScalar(pair.key)) return false;
  const key = keyText(pair.key);
  return key === name || camelCase(key) === name;
}

interface Composed {
  readonly documents: readonly Document.Parsed[];
  readonly lines: LineCounter;
  readonly faults: readonly YamlFault[];
}

/** Errors are reported one after another: each `locate` of them is for the same text. */
let newest: { readonly text: string; readonly composed: Composed } | undefined;

function compose(text: string): Composed {
  if (newest?.text !== text) newest = { text, composed: composeAfresh(text) };
  return newest.composed;
}

function composeAfresh(text: string): Composed {
  const lines = new LineCounter();
  const tokens = [...new Parser(lines.addNewLine).parse(text)];
  const deep = tooDeep(tokens);
  if (deep !== undefined) {
    const message = `nested more than ${yamlBounds.depth} levels deep: no object of ours needs that, make it flatter`;
    return { documents: [], lines, faults: [{ ...at(lines, deep), message }] };
  }
  // Duplicate names are looked for by the reader below, in linear time.
  const composer = new Composer({ version: "1.2", schema: "core", uniqueKeys: false, strict: true });
  const documents = [...composer.compose(tokens)] as Document.Parsed[];
  const faults = documents.flatMap((document) =>
    [...document.errors, ...document.warnings].map((error) => ({
      ...at(lines, error.pos[0]),
      message: `not valid YAML: ${plainMessage(error.message)}`,
    })),
  );
  if (documents.length > yamlBounds.documents)
    faults.push({ ...at(lines, documents[yamlBounds.documents]?.range[0] ?? 0), message: tooManyDocuments });
  return { documents, lines, faults: faults.slice(0, yamlBounds.faults) };
}

/** Offset of the first token below the permitted depth. Iterative: the composer's recursion is what it protects. */
function tooDeep(tokens: readonly unknown[]): number | undefined {
  const open: { readonly token: unknown; readonly depth: number }[] = tokens.map((token) => ({ token, depth: 0 }));
  for (let next = open.pop(); next !== undefined; next = open.pop()) {
    const token = next.token as { offset?: number; items?: unknown[]; value?: unknown; key?: unknown } | null;
    if (typeof token !== "object" || token === null) continue;
    if (next.depth > yamlBounds.depth * 2) return token.offset ?? 0;
    const depth = next.depth + 1;
    if (Array.isArray(token.items)) for (const item of token.items) open.push({ token: item, depth });
    if (typeof token.value === "object") open.push({ token: token.value, depth });
    if (typeof token.key === "object") open.push({ token: token.key, depth });
  }
  return undefined;
}

/** The library's messages may carry an excerpt on further lines; ours are one line. */
function plainMessage(message: string): string {
  return (message.split("\n")[0] ?? message).replace(/ at line \d+, column \d+:?$/, "").replace(/:$/, "");
}

function at(lines: LineCounter, offset: number): Position {
  const { line, col } = lines.linePos(offset);
  return { line: Math.max(line, 1), column: Math.max(col, 1) };
}

function keyText(key: { readonly value: unknown; readonly source?: string }): string {
  return typeof key.value === "string" ? key.value : (key.source ?? String(key.value));
}

/** Syntax tree → plain data, with a budget that aliases draw from too. */
class Reader {
  readonly faults: YamlFault[] = [];
  /** Values that may still come; below zero when there were more. */
  left: number;
  readonly #lines: LineCounter;

  constructor(lines: LineCounter, maxNodes: number) {
    this.#lines = lines;
    this.left = maxNodes;
  }

  value(node: unknown, document: Document, depth = 0): unknown {
    if (this.left-- <= 0) {
      if (this.left === -1) this.#fault(node, `more than ${yamlBounds.nodes} values: divide the file`);
      return undefined;
    }
    if (depth > yamlBounds.depth) {
      this.#fault(node, `nested more than ${yamlBounds.depth} levels deep, aliases included: make it flatter`);
      return undefined;
    }
    if (isAlias(node)) return this.#alias(node, document, depth);
    if (isScalar(node)) return this.#scalar(node);
    if (isSeq(node)) return node.items.map((item) => this.value(item, document, depth + 1));
    if (isMap(node)) return this.#map(node.items, document, depth);
    return null;
  }

  #alias(node: Alias, document: Document, depth: number): unknown {
    const target = node.resolve(document);
    if (target !== undefined) return this.value(target, document, depth + 1);
    this.#fault(node, `the alias *${node.source} has no anchor in this document: write the value itself`);
    return undefined;
  }

  #scalar(node: { readonly value: unknown; readonly source?: string }): unknown {
    // YAML reads 1e999 and 9007199254740993 as numbers that are not what was written.
    if (typeof node.value !== "number" || Number.isFinite(node.value)) return node.value;
    this.#fault(node, `${node.source ?? "this number"} is too large: write a smaller number`);
    return undefined;
  }

  #map(items: readonly Pair[], document: Document, depth: number): unknown {
    const value: Record<string, unknown> = Object.create(null) as Record<string, unknown>;
    for (const item of items) {
      if (!isPair(item) || !isScalar(item.key)) {
        this.#fault(item.key, "a name must be plain text: put the list or map behind a name");
        continue;
      }
      const name = keyText(item.key);
      if (Object.hasOwn(value, name)) {
        this.#fault(item.key, `"${name}" is given twice in one map: remove one of the two`);
      } else if (name === "__proto__") {
        this.#fault(item.key, `"${name}" cannot be a name: remove it`);
      } else {
        value[name] = this.value(item.value, document, depth + 1);
      }
    }
    return value;
  }

  #fault(node: unknown, message: string): void {
    if (this.faults.length < yamlBounds.faults) {
      this.faults.push({ ...at(this.#lines, (node as Node | undefined)?.range?.[0] ?? 0), message });
    }
  }
}
