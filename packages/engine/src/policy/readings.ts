import type { Call } from "../call.ts";
import type { HeaderMatch, StringMatch } from "../config.ts";
import type { Env } from "../env.ts";
import { asciiLower, hasAsciiLower } from "../match/ascii.ts";
import { canonicalHost } from "../match/canonical-host.ts";
import type { CanonicalHost } from "../match/canonical-host.ts";
import { canonicalPath, isCanonical } from "../match/canonical-path.ts";
import { valueTest } from "../match/header.ts";
import type { CallTest, Quantifier } from "../match/header.ts";
import { pathOf } from "../match/path.ts";
import { compileString } from "../match/string.ts";
import type { TextTest } from "../match/regex.ts";

/**
 * The ways in which the application behind may understand one request path (dataplane.md §23 rule 2). A DENY holds if any of
 * them matches, an ALLOW only if all do, so a policy covers the router behind it without knowing which one it is.
 */
export class Readings {
  readonly target: string;
  readonly authority: string;
  readonly method: string;
  /** As sent, without query. */
  readonly raw: string;
  readonly canonical: string;
  /** From `?` on. */
  readonly query: string;
  /** Why the path cannot be read safely; then nothing may pass that a path rule guards. */
  readonly malformedPath: string | undefined;
  #folded: string | undefined = undefined;
  #host: CanonicalHost | undefined = undefined;

  constructor({ path: target, authority, method }: Call) {
    this.target = target;
    this.authority = authority;
    this.method = method;
    if (isCanonical(target)) {
      this.raw = this.canonical = target;
      this.query = "";
      this.malformedPath = undefined;
      return;
    }
    const result = canonicalPath(target, method);
    this.raw = pathOf(target);
    this.canonical = result.ok ? result.path : "";
    this.query = result.ok ? result.query : "";
    this.malformedPath = result.ok ? undefined : result.reason;
  }

  /** Canonical, lower case, without trailing slash: what a lenient router makes of it. */
  get folded(): string {
    if (this.#folded !== undefined) return this.#folded;
    const lower = asciiLower(this.canonical);
    return (this.#folded = lower.length > 1 && lower.endsWith("/") ? lower.slice(0, -1) : lower);
  }

  get host(): CanonicalHost {
    return (this.#host ??= canonicalHost(this.authority));
  }
}

/** The newest. They are made of nothing but what is compared here, so whose call it was does not matter. */
let newest: Readings | undefined;

/** The readings of a call: made for the first filter that asks, and anew when one has changed the request. */
export function readingsOf(call: Call): Readings {
  if (
    newest !== undefined &&
    newest.target === call.path &&
    newest.authority === call.authority &&
    newest.method === call.method
  )
    return newest;
  return (newest = new Readings(call));
}

/**
 * A path rule over all readings. The folded reading stands for a router that ignores letter case and a trailing slash, so
 * the rule is compared in that way too, in both slash forms. Whatever matches canonically matches folded, so
 * "any" need not ask the canonical reading, nor "all" the folded one.
 */
export function compilePathReadings(match: StringMatch, quantifier: Quantifier, regex: Env["regex"]): CallTest {
  const test = compileString(match, regex);
  if (quantifier === "all")
    return (call) => {
      const { raw, canonical } = readingsOf(call);
      return test(raw) && (raw === canonical || test(canonical));
    };
  const lenient = compileEitherSlash(match, regex);
  return (call) => {
    const { raw, folded } = readingsOf(call);
    return test(raw) || lenient(folded);
  };
}

/** Whether a folded path, or the same with a slash behind it, matches without letter case. */
function compileEitherSlash(match: StringMatch, regex: Env["regex"]): TextTest {
  const test = compileString(foldedMatch(match), regex);
  const bySlash = (text: string): boolean => text !== "/" && test(`${text}/`);
  if (match.kind === "regex") return (text) => test(text) || bySlash(text);
  // A slash at the end can only be met by one.
  if (!match.value.endsWith("/")) return test;
  // Then the shorter form has all of the value but its slash: only where that is so, the longer one is made.
  const bare = asciiLower(match.value.slice(0, -1));
  switch (match.kind) {
    case "exact":
    case "prefix":
      return (text) => test(text) || (text.length === bare.length && bySlash(text));
    case "suffix":
    case "contains":
      return (text) => test(text) || (hasAsciiLower(text, bare, text.length - bare.length) && bySlash(text));
  }
}

function foldedMatch(match: StringMatch): StringMatch {
  return match.kind === "regex" ? { kind: "regex", value: `(?i:${match.value})` } : { ...match, ignoreCase: true };
}

/** A rule on the header `:path`, which holds the query too: as sent and canonical; a DENY also looks without the query. */
export function compileTargetReadings(match: HeaderMatch, quantifier: Quantifier, env: Pick<Env, "regex">): CallTest {
  // Presence is a matter of the configuration alone: every request has a path.
  if (match.test.kind === "present") {
    const result = match.test.present !== match.invert;
    return () => result;
  }
  const condition = match.test;
  const compare = valueTest(condition, env.regex);
  const test = (text: string): boolean => compare(text) !== match.invert;
  if (quantifier === "all")
    return (call) => {
      const { target, canonical, query } = readingsOf(call);
      return test(target) && test(canonical + query);
    };
  const folded = condition.kind === "string" ? compileString(foldedMatch(condition.match), env.regex) : compare;
  const lenient = (text: string): boolean => folded(text) !== match.invert;
  return (call) => {
    const { target, canonical, query, folded: bare } = readingsOf(call);
    return test(target) || lenient(canonical + query) || lenient(bare) || (bare !== "/" && lenient(`${bare}/`));
  };
}

/**
 * A rule on the host (dataplane.md §23 rule 3). Hosts have no letter case, and the author of a rule may have meant the
 * host with its port or without: either form may match, and neither can be made up by the peer, for the host grammar is checked.
 */
export function compileHost(match: HeaderMatch, env: Pick<Env, "regex">): CallTest {
  if (match.test.kind === "present") {
    const { present } = match.test;
    return (call) => ((match.missingIsEmpty || call.authority !== "") === present) !== match.invert;
  }
  const condition = match.test;
  const test = valueTest(
    condition.kind === "string" && condition.match.kind !== "regex"
      ? { kind: "string", match: { ...condition.match, ignoreCase: true } }
      : condition,
    env.regex,
  );
  return (call) => {
    const { host } = readingsOf(call);
    if (!host.ok) throw new TypeError(host.reason);
    const holds = test(host.host) || (host.port !== "" && test(`${host.host}:${host.port}`));
    return holds !== match.invert;
  };
}
