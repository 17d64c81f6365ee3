import { canonicalPath } from "@trama/engine";
import type { Permission, Principal, RbacConfig, StringMatch } from "@trama/engine";

import { pathOf } from "../../../../packages/engine/src/match/path.ts";
import { compileString } from "../../../../packages/engine/src/match/string.ts";
import { compileRegex } from "../../../../packages/sdk/src/env/regex.ts";
import type { WireRequest } from "../http1.ts";

/**
 * Whether a request can be read in more than one way by these policies: then we are stricter than Envoy on purpose
 * (dataplane.md §23 rules 2 and 4), and all that is demanded is that we never let through what Envoy refuses. For any other
 * request both must say the same.
 */
export function ambiguousFor(policies: readonly RbacConfig[]): (request: WireRequest) => boolean {
  const headers = new Set<string>();
  const paths: StringMatch[] = [];
  let target = false;
  const visit = (rule: Permission | Principal): void => {
    if (rule.kind === "and" || rule.kind === "or") for (const one of rule.of) visit(one);
    else if (rule.kind === "not") visit(rule.of);
    else if (rule.kind === "path") paths.push(rule.match);
    else if (rule.kind === "header" && rule.match.name === ":path") target = true;
    else if (rule.kind === "header") headers.add(rule.match.name);
  };
  for (const { rules } of policies)
    for (const { permissions, principals } of rules?.policies ?? []) [...permissions, ...principals].forEach(visit);
  const conditions = paths.map((match) => ({
    strict: compileString(match, compileRegex),
    // As a router compares that ignores letter case.
    lenient: compileString(
      match.kind === "regex" ? { kind: "regex", value: `(?i:${match.value})` } : { ...match, ignoreCase: true },
      compileRegex,
    ),
  }));
  return (request) => {
    const names = request.headers.map(([name]) => name.toLowerCase());
    if (names.some((name, at) => headers.has(name) && names.indexOf(name) !== at)) return true;
    if (target) return true;
    if (conditions.length === 0) return false;
    const canonical = canonicalPath(request.target, request.method);
    if (!canonical.ok) return true;
    const raw = pathOf(request.target);
    const bare = canonical.path.toLowerCase().replace(/(?<=.)\/$/, "");
    return conditions.some(({ strict, lenient }) => {
      const answer = strict(raw);
      return strict(canonical.path) !== answer || lenient(bare) !== answer || lenient(`${bare}/`) !== answer;
    });
  };
}
