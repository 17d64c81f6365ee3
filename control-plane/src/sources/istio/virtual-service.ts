import * as z from "zod";

import { type CallerMatchSpec, callerMatch, gateways } from "./caller-match.ts";
import { type ConnectionRuleSpec, serverNameProblems, tcpRule, tlsRule } from "./connection-rules.ts";
import { type CorsSpec, cors } from "./cors.ts";
import { type FaultSpec, fault } from "./fault.ts";
import { type HeaderChangesSpec, headerChanges } from "./header-changes.ts";
import { type DirectResponseSpec, type RedirectSpec, directResponse, redirect } from "./http-answers.ts";
import { type RewriteSpec, rewrite } from "./http-rewrite.ts";
import { message } from "./message.ts";
import { type MirrorFields, mirrorFields, mirrorProblems } from "./mirror.ts";
import { type WeightedDestinationSpec, weightProblem, weightedDestination } from "./route-destination.ts";
import {
  type TextMatch,
  cut,
  dnsLabel,
  dnsName,
  duration,
  exportTo,
  fail,
  textMatch,
  whole,
  wildcardHost,
} from "./values.ts";

/** VirtualService as validated: hosts as written, durations in milliseconds (istio-api §2). */
export interface VirtualServiceSpec {
  /** None: a delegate, whose rules hold where others hand over to it. */
  readonly hosts: readonly string[];
  readonly exportTo?: readonly string[] | undefined;
  /** `mesh`, or names of gateways; none: mesh. */
  readonly gateways: readonly string[];
  readonly http: readonly HttpRuleSpec[];
  /** At least one of the three lists has rules. */
  readonly tls: readonly ConnectionRuleSpec[];
  readonly tcp: readonly ConnectionRuleSpec[];
}

/** Exactly one of route, redirect, directResponse and delegate says something. */
export interface HttpRuleSpec extends MirrorFields {
  readonly name: string;
  readonly match: readonly HttpMatchSpec[];
  readonly route: readonly RouteDestinationSpec[];
  readonly timeout?: number | undefined;
  readonly retries?: RetriesSpec | undefined;
  readonly fault?: FaultSpec | undefined;
  readonly headers?: HeaderChangesSpec | undefined;
  readonly rewrite?: RewriteSpec | undefined;
  readonly redirect?: RedirectSpec | undefined;
  readonly directResponse?: DirectResponseSpec | undefined;
  readonly corsPolicy?: CorsSpec | undefined;
  /** The rules of another object stand in the place of this one; without a namespace, of the same. */
  readonly delegate?: { readonly name: string; readonly namespace?: string | undefined } | undefined;
}

export interface HttpMatchSpec extends CallerMatchSpec {
  readonly name: string;
  readonly uri?: TextMatch | undefined;
  readonly ignoreUriCase: boolean;
  readonly scheme?: TextMatch | undefined;
  readonly method?: TextMatch | undefined;
  readonly authority?: TextMatch | undefined;
  readonly headers: Readonly<Record<string, TextMatch>>;
  readonly withoutHeaders: Readonly<Record<string, TextMatch>>;
  readonly queryParams: Readonly<Record<string, TextMatch>>;
  /** Has no effect. */
  readonly statPrefix?: string | undefined;
}

export interface RouteDestinationSpec extends WeightedDestinationSpec {
  /** After those of the rule, whatever the number of destinations. */
  readonly headers?: HeaderChangesSpec | undefined;
}

export interface RetriesSpec {
  /** 0 = off. */
  readonly attempts: number;
  readonly perTryTimeout?: number | undefined;
  readonly retryOn?: { readonly words: readonly string[]; readonly codes: readonly number[] } | undefined;
  /** Absent: yes, unless the destination hashes (istio-api §2.6). */
  readonly retryIgnorePreviousHosts?: boolean | undefined;
  readonly retryRemoteLocalities: boolean;
  readonly backoff?: number | undefined;
}

/** Header names are case-insensitive: kept in lower case, so that two spellings of one name are seen. */
function headerConditions(): z.ZodType<Readonly<Record<string, TextMatch>>> {
  return z.record(z.string(), textMatch({ present: true })).transform((conditions, context) => {
    const lower: Record<string, TextMatch> = {};
    for (const [written, match] of Object.entries(conditions)) {
      const name = written.toLowerCase();
      const problem = headerProblem(name, Object.hasOwn(lower, name));
      if (problem !== undefined) {
        context.addIssue({ code: "custom", path: [written], message: problem });
      }
      lower[name] = match;
    }
    return lower;
  });
}

function headerProblem(name: string, twice: boolean): string | undefined {
  if (["uri", "scheme", "method", "authority"].includes(name)) {
    return `Istio ignores a header condition of this name: write the field ${name} of the match instead`;
  }
  if (name.startsWith("@"))
    return "not supported by this release: conditions on JWT claims, which belong to gateways; remove it";
  if (!/^[!#$%&'*+.^_`|~0-9a-z-]+$/.test(name)) return "is no header name: remove the condition";
  return twice ? "is given twice in different case: header names ignore case, keep one" : undefined;
}

const match = message({
  ...callerMatch,
  name: z.string().default(""),
  uri: textMatch({ emptyPrefix: true }).optional(),
  ignoreUriCase: z.boolean().default(false),
  scheme: textMatch({}).optional(),
  method: textMatch({}).optional(),
  authority: textMatch({}).optional(),
  headers: headerConditions().default({}),
  withoutHeaders: headerConditions().default({}),
  queryParams: z.record(z.string(), textMatch({ present: true })).default({}),
  statPrefix: z.string().optional(),
}).transform((found, context): HttpMatchSpec => {
  const { name: _name, ignoreUriCase: _case, statPrefix: _stat, ...conditions } = found;
  const { headers, withoutHeaders, queryParams, sourceLabels, gateways: where, ...rest } = conditions;
  const maps = [headers, withoutHeaders, queryParams, sourceLabels];
  const given = Object.values(rest).some((value) => value !== undefined);
  if (!given && where.length === 0 && maps.every((map) => Object.keys(map).length === 0)) {
    return fail(context, "has no condition: write one, or remove match to take every request");
  }
  return found;
});

const routeDestination = message({ ...weightedDestination, headers: headerChanges.optional() });

/** Envoy's words that the data plane acts on; the gRPC ones speak of the status of an answer (istio-api §2.6). */
const retryConditions = [
  "5xx",
  "gateway-error",
  "reset",
  "reset-before-request",
  "connect-failure",
  "retriable-4xx",
  "refused-stream",
  "retriable-status-codes",
  "envoy-ratelimited",
  // Two that are never true; the check says so.
  "retriable-headers",
  "http3-post-connect-failure",
  "cancelled",
  "deadline-exceeded",
  "internal",
  "resource-exhausted",
  "unavailable",
];
const retryOn = z.string().transform((text, context) => {
  const words: string[] = [];
  const codes: number[] = [];
  for (const word of text.split(",").map((part) => part.trim())) {
    if (/^[1-5]\d\d$/.test(word)) codes.push(Number(word));
    else if (retryConditions.includes(word)) words.push(word);
    else
      return fail(context, `"${cut(word)}" is no retry condition: use ${retryConditions.join(", ")}, or a status code`);
  }
  // Naming a code asks for it: the word that makes Envoy look at codes comes along.
  if (codes.length > 0 && !words.includes("retriable-status-codes")) words.push("retriable-status-codes");
  return { words: [...new Set(words)], codes: [...new Set(codes)] };
});

const retries = message({
  attempts: whole(0, 100, "a number of retries").default(0),
  perTryTimeout: duration.optional(),
  retryOn: retryOn.optional(),
  retryIgnorePreviousHosts: z.boolean().optional(),
  retryRemoteLocalities: z.boolean().default(false),
  backoff: duration.optional(),
}).refine(
  ({
    attempts,
    perTryTimeout,
    retryOn: on,
    backoff,
    retryIgnorePreviousHosts: ignore,
    retryRemoteLocalities: remote,
  }) => attempts > 0 || ((perTryTimeout ?? on ?? backoff ?? ignore) === undefined && !remote),
  "attempts is 0 or missing, which turns retries off, yet other fields are set: add attempts, or remove them",
);

const rule = message({
  name: z.string().max(256, "is longer than 256 characters: shorten it").default(""),
  match: z.array(match).default([]),
  route: z.array(routeDestination).min(1, "needs at least one destination").optional(),
  timeout: duration.optional(),
  retries: retries.optional(),
  fault: fault.optional(),
  headers: headerChanges.optional(),
  rewrite: rewrite.optional(),
  redirect: redirect.optional(),
  directResponse: directResponse.optional(),
  ...mirrorFields,
  corsPolicy: cors.optional(),
  delegate: message({ name: dnsName, namespace: dnsLabel.optional() }).optional(),
}).transform(({ route = [], ...found }, context): HttpRuleSpec => {
  for (const problem of ruleProblems({ route, ...found })) context.addIssue({ code: "custom", ...problem });
  return { route, ...found };
});

/** What the parts of a rule make impossible for each other. */
function* ruleProblems(found: HttpRuleSpec): Iterable<{ readonly path: string[]; readonly message: string }> {
  const ways = ["route", "redirect", "directResponse", "delegate"] as const;
  const [first, second] = ways.filter((way) => (way === "route" ? found.route.length > 0 : found[way] !== undefined));
  if (first === undefined) yield { path: [], message: "needs one of route, redirect, directResponse and delegate" };
  else if (second !== undefined)
    yield { path: [second], message: `cannot stand beside ${first}: remove one of the two` };
  const weights = weightProblem(found.route);
  if (weights !== undefined) yield { path: ["route"], message: weights };
  yield* mirrorProblems(found);
  if (first === "route") {
    const hosts = found.route.filter(({ headers }) => headers?.request?.authority !== undefined);
    if (found.rewrite?.authority !== undefined && (found.headers?.request?.authority !== undefined || hosts.length > 0))
      yield { path: ["rewrite", "authority"], message: "Host is among the headers already: keep one of the two" };
  } else if (first === "redirect" || first === "directResponse") {
    for (const field of ["rewrite", "fault", "timeout", "retries", "mirror", "mirrors", "corsPolicy"] as const)
      if (found[field] !== undefined)
        yield { path: [field], message: `has no effect beside ${first}, which sends nothing on: remove it` };
    if (found.headers?.request !== undefined)
      yield {
        path: ["headers", "request"],
        message: `has no effect beside ${first}, which sends nothing on: remove it`,
      };
  }
}

const noRules = "needs at least one rule";

export const virtualServiceSchema: z.ZodType<VirtualServiceSpec> = message({
  hosts: z.array(wildcardHost).default([]),
  exportTo: exportTo.optional(),
  gateways: gateways.default([]),
  http: z.array(rule).min(1, noRules).optional(),
  tls: z.array(tlsRule).min(1, noRules).optional(),
  tcp: z.array(tcpRule).min(1, noRules).optional(),
}).transform(({ http = [], tls = [], tcp = [], ...found }, context): VirtualServiceSpec => {
  const spec = { ...found, http, tls, tcp };
  const problems = found.hosts.length > 0 ? serverNameProblems(found.hosts, tls) : delegateProblems(spec);
  for (const problem of problems) context.addIssue({ code: "custom", ...problem });
  if (http.length + tls.length + tcp.length > 0) return spec;
  return fail(context, "has no rules: write http, or tls and tcp for ports of these protocols");
});

/** Whoever delegates to it says for which hosts and where. */
function* delegateProblems({
  gateways: where,
  http,
  tls,
  tcp,
}: VirtualServiceSpec): Iterable<{ readonly path: (string | number)[]; readonly message: string }> {
  const gatewaysOf = "an object without hosts is a delegate, which has no gateways: remove them";
  if (where.length > 0) yield { path: ["gateways"], message: gatewaysOf };
  for (const [field, rules] of Object.entries({ tls, tcp }))
    if (rules.length > 0)
      yield {
        path: [field],
        message: "an object without hosts is a delegate, which has http rules alone: write hosts, or remove it",
      };
  for (const [index, { match: matches }] of http.entries())
    for (const [at, one] of matches.entries())
      if (one.gateways.length > 0) yield { path: ["http", index, "match", at, "gateways"], message: gatewaysOf };
  for (const [index, { delegate }] of http.entries())
    if (delegate !== undefined)
      yield {
        path: ["http", index, "delegate"],
        message: "an object without hosts is a delegate, which cannot delegate in its turn: write the rules here",
      };
}
