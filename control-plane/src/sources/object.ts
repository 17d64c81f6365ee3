import { createHash } from "node:crypto";

import * as z from "zod";

import type { Diagnostic, DiagnosticCode } from "../diagnostics.ts";
import { explain } from "./istio/explain.ts";
import { type Kind, type Specs, kinds, refusedKinds } from "./istio/kinds.ts";
import { message } from "./istio/message.ts";
import { readHedges, readIdempotent } from "./istio/route-settings.ts";
import type { VirtualServiceSpec } from "./istio/virtual-service.ts";
import { cut, dnsLabel, dnsName, labels } from "./istio/values.ts";
import { nearest } from "./names.ts";
import { type Path, locate } from "./yaml.ts";

/**
 * What an object says, without where it stands. The same content is the same JavaScript object as long as it stays in
 * force: everything that is made from it can be kept by its identity.
 */
export interface Content<K extends Kind = Kind> {
  readonly kind: K;
  readonly namespace: string;
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly spec: Specs[K];
  /** Annotations of ours: what Istio has no field for. */
  readonly settings: Readonly<Record<string, string>>;
  /** Of all of the above. */
  readonly hash: string;
}

/** An object of a file. */
export interface ConfigObject<K extends Kind = Kind> {
  readonly content: Content<K>;
  readonly file: string;
  /** An error at a field, which is given as a path from the object's root; with `key`, at the name of the field. */
  error(code: DiagnosticCode, path: Path, message: string, key?: boolean): Diagnostic;
  warning(code: DiagnosticCode, path: Path, message: string): Diagnostic;
}

/** `AuthorizationPolicy shop/reviews`. */
export function objectName({ kind, namespace, name }: Content): string {
  return `${kind} ${namespace}/${name}`;
}

/** Narrows an object to one kind. */
export function isKind<K extends Kind>(object: ConfigObject, kind: K): object is ConfigObject<K> {
  return object.content.kind === kind;
}

const ignored = z.unknown().optional();

/** What Kubernetes adds to an object that was read from a cluster is accepted, and means nothing here. */
const metadataSchema = message({
  name: dnsName,
  namespace: dnsLabel.default("default"),
  labels: labels.default({}),
  annotations: z.record(z.string(), z.string()).default({}),
  creationTimestamp: ignored,
  deletionGracePeriodSeconds: ignored,
  deletionTimestamp: ignored,
  finalizers: ignored,
  generation: ignored,
  managedFields: ignored,
  ownerReferences: ignored,
  resourceVersion: ignored,
  selfLink: ignored,
  uid: ignored,
});

/** The outermost fields; the type of `spec` depends on the kind. */
const envelope = message({
  apiVersion: z.string(),
  kind: z.string(),
  metadata: metadataSchema,
  spec: z.record(z.string(), z.unknown()),
  // Written back by a cluster.
  status: ignored,
});

/** Gives the content that is known already if it is the same, so that identity stays. */
export type Intern = (content: Content) => Content;

/** What one document of a file says, or what is wrong with it. Findings stand where they stand in the text that the place knows. */
export type ReadObject = { readonly content: Content } | { readonly diagnostics: readonly Diagnostic[] };

export function readObject(place: Place, value: unknown, intern: Intern): ReadObject {
  const kind = kindOf(place, value);
  if (typeof kind !== "string") return { diagnostics: [kind] };
  const outer = envelope.safeParse(value);
  const raw = (value as Readonly<Record<string, unknown>>)["spec"];
  const inner = typeof raw === "object" && raw !== null ? kinds[kind].schema.safeParse(raw) : undefined;
  if (!outer.success || inner?.success !== true) {
    const found = [
      ...(outer.success ? [] : explain(outer.error.issues, value)),
      ...explain(inner?.error?.issues ?? [], raw).map((finding) => ({
        ...finding,
        path: ["spec", ...finding.path],
        message: finding.path.length === 0 ? `spec: ${finding.message}` : `spec.${finding.message}`,
      })),
    ];
    return { diagnostics: found.map(({ code, path, message, key }) => place.error(code, path, message, key)) };
  }
  const { name, namespace, labels: own, annotations } = outer.data.metadata;
  if (kind === "AuthorizationPolicy" && annotations["istio.io/dry-run"] === "true") {
    const path = ["metadata", "annotations", "istio.io/dry-run"];
    const text = "not supported by this release: trying a policy out; remove the object until it shall be enforced";
    return { diagnostics: [place.error("unsupported", path, text)] };
  }
  const settings = Object.fromEntries(Object.entries(annotations).filter(([key]) => key.startsWith("trama.io/")));
  const wrong = wrongSetting(kind, settings, inner.data);
  if (wrong !== undefined)
    return { diagnostics: [place.error("value", ["metadata", "annotations", wrong.key], wrong.text)] };
  const said = { kind, namespace, name, labels: own, spec: inner.data, settings };
  return { content: intern({ ...said, hash: hashOf(said) }) };
}

/** By kind: our annotations with their values. */
const settingsOf: Partial<Record<Kind, Readonly<Record<string, Setting>>>> = {
  DestinationRule: { "trama.io/outlier-probing": ["true", "false"], "trama.io/load-balancer": ["PEAK_EWMA"] },
  VirtualService: {
    "trama.io/idempotent": (text, spec) => problem(readIdempotent(text, (spec as VirtualServiceSpec).http)),
    "trama.io/hedge": (text, spec) => problem(readHedges(text, (spec as VirtualServiceSpec).http)),
  },
};

/** The values that it can have, or what says what is wrong with one. */
type Setting = readonly string[] | ((text: string, spec: Specs[Kind]) => string | undefined);

function problem(read: unknown): string | undefined {
  return typeof read === "string" ? read : undefined;
}

function wrongSetting(
  kind: Kind,
  settings: Readonly<Record<string, string>>,
  spec: Specs[Kind],
): { readonly key: string; readonly text: string } | undefined {
  const known = settingsOf[kind] ?? {};
  for (const [key, value] of Object.entries(settings)) {
    const values = Object.hasOwn(known, key) ? known[key] : undefined;
    const at = `metadata.annotations["${cut(key)}"]`;
    if (values === undefined) {
      const meant = Object.keys(known).join(", ");
      return { key, text: `${at}: means nothing on a ${kind}: ${meant === "" ? "remove it" : `known is ${meant}`}` };
    }
    if (typeof values === "function") {
      const wrong = values(value, spec);
      if (wrong !== undefined) return { key, text: `${at}: ${wrong}` };
    } else if (!values.includes(value))
      return { key, text: `${at}: must be ${values.join(" or ")}, as a text in quotes` };
  }
  return undefined;
}

/** The kind, if it is one of ours in one of its versions. */
function kindOf(place: Place, value: unknown): Kind | Diagnostic {
  const { apiVersion, kind } = (typeof value === "object" && value !== null ? value : {}) as Readonly<
    Record<string, unknown>
  >;
  if (typeof apiVersion !== "string" || typeof kind !== "string") {
    return place.error("kind", [], "is no object of the mesh: it needs apiVersion, kind, metadata and spec");
  }
  if (!Object.hasOwn(kinds, kind)) {
    const remedy = Object.hasOwn(refusedKinds, kind) ? refusedKinds[kind] : undefined;
    if (remedy !== undefined) {
      return place.error("unsupported", ["kind"], `${kind} is not supported by this release: ${remedy}`);
    }
    const meant = nearest(kind, Object.keys(kinds));
    const hint = meant === undefined ? `known are ${Object.keys(kinds).join(", ")}` : `did you mean ${meant}?`;
    return place.error("kind", ["kind"], `unknown kind "${cut(kind)}": ${hint}`);
  }
  const { group, versions } = kinds[kind as Kind];
  const [writtenGroup, version = ""] = apiVersion.split("/");
  if (writtenGroup === group && versions.includes(version)) return kind as Kind;
  const known = versions.map((each) => `${group}/${each}`).join(", ");
  return place.error("kind", ["apiVersion"], `${kind} is not of "${cut(apiVersion)}": write ${known}`);
}

function hashOf(said: object): string {
  return createHash("sha256").update(JSON.stringify(said)).digest("base64url").slice(0, 22);
}

/** A document of a file: turns paths into positions. */
export class Place {
  readonly file: string;
  readonly #text: string;
  readonly #index: number;
  readonly #line: number;

  /** `index`: of the document in the text, which is a part of the file with so many lines before it. */
  constructor(file: string, text: string, index: number, line: number) {
    this.file = file;
    this.#text = text;
    this.#index = index;
    this.#line = line;
  }

  error(code: DiagnosticCode, path: Path, text: string, key = false): Diagnostic {
    const { line, column } = locate(this.#text, this.#index, path, key);
    return { severity: "error", code, file: this.file, line: this.#line + line, column, message: text };
  }

  warning(code: DiagnosticCode, path: Path, text: string): Diagnostic {
    return { ...this.error(code, path, text), severity: "warning" };
  }
}

export class PlacedObject implements ConfigObject {
  readonly content: Content;
  readonly #place: Place;

  constructor(content: Content, place: Place) {
    this.content = content;
    this.#place = place;
  }

  get file(): string {
    return this.#place.file;
  }

  error(code: DiagnosticCode, path: Path, text: string, key?: boolean): Diagnostic {
    return this.#place.error(code, path, text, key);
  }

  warning(code: DiagnosticCode, path: Path, text: string): Diagnostic {
    return this.#place.warning(code, path, text);
  }
}
