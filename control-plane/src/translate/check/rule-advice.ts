import type { Diagnostic } from "../../diagnostics.ts";
import type { HttpMatchSpec, HttpRuleSpec } from "../../sources/istio/virtual-service.ts";
import type { ConfigObject } from "../../sources/object.ts";
import type { Path } from "../../sources/yaml.ts";

interface Advice {
  readonly path: Path;
  readonly text: string;
}

/** What one rule says that is allowed and probably not meant. */
export function* adviseRules(object: ConfigObject<"VirtualService">): Iterable<Diagnostic> {
  for (const [index, rule] of object.content.spec.http.entries()) {
    for (const { path, text } of [...slashes(rule), ...largeBody(rule)]) {
      const place = path.map((part) => (typeof part === "number" ? `[${part}]` : `.${part}`)).join("");
      yield object.warning("advice", ["spec", "http", index, ...path], `spec.http[${index}]${place}: ${text}`);
    }
  }
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
