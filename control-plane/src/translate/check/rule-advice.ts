import type { Diagnostic } from "../../diagnostics.ts";
import type { CallerMatchSpec } from "../../sources/istio/caller-match.ts";
import type { HttpMatchSpec, HttpRuleSpec } from "../../sources/istio/virtual-service.ts";
import { forMesh } from "../istio/virtual-service.ts";
import type { ConfigObject } from "../../sources/object.ts";
import type { Path } from "../../sources/yaml.ts";

interface Advice {
  readonly path: Path;
  readonly text: string;
}

/** What one rule says that is allowed and probably not meant. */
export function* adviseRules(object: ConfigObject<"VirtualService">): Iterable<Diagnostic> {
  const { http, gateways } = object.content.spec;
  for (const [index, name] of gateways.entries())
    if (name !== "mesh") {
      const effect = forMesh(gateways) ? "it has no effect" : "the object has no effect, for mesh is not listed either";
      const text = `spec.gateways[${index}]: there are no gateways in this release: ${effect}`;
      yield object.warning("advice", ["spec", "gateways", index], text);
    }
  for (const [index, rule] of http.entries()) {
    const found = [
      idleMatches(rule),
      idleRetries(rule),
      idleFaults(rule),
      slashes(rule),
      oldForms(rule),
      largeBody(rule),
    ];
    for (const { path, text } of found.flatMap((each) => [...each])) {
      const place = path.map((part) => (typeof part === "number" ? `[${part}]` : `.${part}`)).join("");
      yield object.warning("advice", ["spec", "http", index, ...path], `spec.http[${index}]${place}: ${text}`);
    }
  }
}

/** What Istio accepts in a match although nothing comes of it here. */
function* idleMatches({ match }: HttpRuleSpec): Iterable<Advice> {
  for (const [index, one] of match.entries()) {
    const { statPrefix, ignoreUriCase, uri } = one;
    const path = ["match", index];
    if (ignoreUriCase && (uri === undefined || uri.kind === "regex")) {
      const text =
        uri === undefined ? "has no effect without uri: remove it" : "has no effect on a regex: begin it with (?i)";
      yield { path: [...path, "ignoreUriCase"], text };
    }
    if (statPrefix !== undefined)
      yield { path: [...path, "statPrefix"], text: "has no effect in Trama: metrics have no such prefix" };
    for (const idle of idleGateways(one)) yield { path: [...path, ...idle.path], text: idle.text };
  }
}

/** What gateways of its own make of a match. */
export function* idleGateways({ gateways, sourceLabels, sourceNamespace }: CallerMatchSpec): Iterable<Advice> {
  if (gateways.length === 0) return;
  if (!forMesh(gateways))
    yield { path: ["gateways"], text: "there are no gateways in this release: the match never holds" };
  for (const [field, found] of [
    ["sourceLabels", Object.keys(sourceLabels).length > 0],
    ["sourceNamespace", sourceNamespace !== undefined],
  ] as const)
    if (found) yield { path: [field], text: "is not looked at beside gateways: remove one of the two" };
}

/** Words that are never true, and why. */
const idleWords: Readonly<Record<string, string>> = {
  "retriable-headers": "no field of retries names the headers",
  "http3-post-connect-failure": "nothing here speaks HTTP/3",
};

function* idleRetries({ retries }: HttpRuleSpec): Iterable<Advice> {
  for (const [word, why] of Object.entries(idleWords))
    if (retries?.retryOn?.words.includes(word) === true)
      yield { path: ["retries", "retryOn"], text: `${word} has no effect, for ${why}: remove it` };
}

function* idleFaults({ fault }: HttpRuleSpec): Iterable<Advice> {
  for (const part of ["delay", "abort"] as const)
    if (fault?.[part]?.unsaid === true)
      yield { path: ["fault", part], text: "holds for nobody without a percentage: write percentage: {value: …}" };
}

function* oldForms({ fault, mirrorPercent, corsPolicy }: HttpRuleSpec): Iterable<Advice> {
  if (corsPolicy?.deprecated === true)
    yield { path: ["corsPolicy", "allowOrigin"], text: "is the deprecated form: write allowOrigins: [{exact: …}]" };
  if (mirrorPercent !== undefined)
    yield { path: ["mirrorPercent"], text: "is the deprecated form: write mirrorPercentage: {value: …}" };
  for (const part of ["delay", "abort"] as const)
    if (fault?.[part]?.deprecated === true)
      yield { path: ["fault", part, "percent"], text: "is the deprecated form: write percentage: {value: …}" };
}

/** A prefix is plain text: `/foo` in place of `/` makes `//bar` of `/foo/bar` (istio-api §2.5). */
function* slashes({ match, rewrite, redirect }: HttpRuleSpec): Iterable<Advice> {
  const written =
    rewrite?.uri !== undefined
      ? { path: ["rewrite", "uri"], value: rewrite.uri }
      : redirect?.prefixRewrite !== undefined
        ? { path: ["redirect", "prefixRewrite"], value: redirect.prefixRewrite }
        : undefined;
  if (written === undefined) return;
  const alternatives: readonly (HttpMatchSpec | undefined)[] = match.length === 0 ? [undefined] : match;
  for (const one of alternatives) {
    const uri = one?.uri ?? { kind: "prefix", value: "/" };
    if (uri.kind !== "prefix" || uri.value.endsWith("/") === written.value.endsWith("/")) continue;
    const example = uri.value.endsWith("/") ? `${uri.value}x` : `${uri.value}/x`;
    const made = written.value + example.slice(uri.value.length);
    const text = `makes ${made} of ${example}, for a prefix is plain text: end both with /, or neither`;
    yield { path: written.path, text };
    return;
  }
}

const largeBytes = 102_400;

function* largeBody({ directResponse }: HttpRuleSpec): Iterable<Advice> {
  const size = directResponse?.body?.length ?? 0;
  if (size <= largeBytes) return;
  yield {
    path: ["directResponse", "body"],
    text: `has ${size} bytes, which every client of the service holds in memory: serve it from a service`,
  };
}
