import * as z from "zod";

import { message } from "./message.ts";
import { fail, wildcardHost } from "./values.ts";

/** `headers` of a rule or a destination (istio-api §2.4); names in lower case. */
export interface HeaderChangesSpec {
  readonly request?: FieldChangesSpec | undefined;
  readonly response?: FieldChangesSpec | undefined;
}

export interface FieldChangesSpec {
  /** Replaces what is there. */
  readonly set: Readonly<Record<string, string>>;
  /** Behind what is there. */
  readonly add: Readonly<Record<string, string>>;
  readonly remove: readonly string[];
  /** `Host` or `:authority` among set and add: not a field like others, but a rewrite. */
  readonly authority?: string | undefined;
}

/** What frames a message on its connection: the transport writes it, and a policy that did would break or smuggle requests. */
const framing = new Set([
  "connection",
  "content-length",
  "expect",
  "http2-settings",
  "keep-alive",
  "proxy-connection",
  "te",
  "trailer",
  "transfer-encoding",
  "upgrade",
]);

function nameProblem(name: string): string | undefined {
  if (!/^[!#$%&'*+.^_`|~0-9a-z-]+$/.test(name)) return "is no header name: remove it";
  if (framing.has(name)) return "belongs to the connection and cannot be changed: remove it";
  return name === "x-trama-peer" ? "is how the mesh names the caller and cannot be changed: remove it" : undefined;
}

/** What our data plane makes out of a call; what only a proxy could know is not among it. */
const operators: Readonly<Record<string, "request" | "response" | "field">> = {
  REQ: "field",
  RESP: "response",
  UPSTREAM_CLUSTER: "request",
  UPSTREAM_HOST: "response",
  ROUTE_NAME: "request",
};
const known = "REQ(name), RESP(name), UPSTREAM_CLUSTER, UPSTREAM_HOST and ROUTE_NAME";

const operator = /%(?:%|([A-Z0-9_]+)(?:\(([^)%]*)\))?(?::\d{1,5})?%)/g;

/** Envoy's format: `%%` is a percent sign, `%REQ(x)%` the request's field x. */
export function formatProblem(value: string, side: "request" | "response"): string | undefined {
  // oxlint-disable-next-line no-control-regex -- control characters are what is looked for
  if (/[\0-\x08\x0a-\x1f\x7f]/.test(value)) return "has a line break or another control character in it: remove it";
  for (const [, name, subject] of value.matchAll(operator)) {
    if (name === undefined) continue;
    const kind = Object.hasOwn(operators, name) ? operators[name] : undefined;
    if (kind === undefined) return `not supported by this release: the operator %${name}%; use ${known}`;
    if (side === "request" && kind === "response") return `%${name}% is known of an answer only: use it under response`;
    const takesField = name === "REQ" || name === "RESP";
    if (takesField && !/^:?[!#$&'*+.^_`|~0-9A-Za-z-]+(\?:?[!#$&'*+.^_`|~0-9A-Za-z-]+)?$/.test(subject ?? ""))
      return `%${name}(…)% takes the name of a header, or two divided by a question mark`;
    const pseudo = (subject ?? "").split("?").find((each) => each.startsWith(":"));
    if (pseudo !== undefined && (name === "RESP" || !/^:(method|authority|path|scheme)$/i.test(pseudo)))
      return `%${name}(${pseudo})%: there is no such header`;
    if (!takesField && subject !== undefined) return `%${name}% takes no argument`;
  }
  const rest = value.replaceAll(operator, "");
  return rest.includes("%") ? "has a percent sign that begins no operator: write %% for the sign itself" : undefined;
}

type Fields = Readonly<Record<string, string>>;

function values(side: "request" | "response"): z.ZodType<Fields> {
  return z.record(z.string(), z.string()).transform((found, context): Fields => {
    const lower: Record<string, string> = {};
    for (const [written, value] of Object.entries(found)) {
      const name = written.toLowerCase() === "host" ? ":authority" : written.toLowerCase();
      const problem =
        name === ":authority"
          ? authorityProblem(value, side)
          : (nameProblem(name) ?? formatProblem(value, side) ?? undefined);
      const twice = Object.hasOwn(lower, name) ? "is given twice: header names ignore case, keep one" : undefined;
      const text = problem ?? twice;
      if (text !== undefined) context.addIssue({ code: "custom", path: [written], message: text });
      lower[name] = value;
    }
    return lower;
  });
}

function authorityProblem(value: string, side: "request" | "response"): string | undefined {
  if (side === "response") return "is a header of requests only: remove it";
  return authority.safeParse(value).success ? undefined : "must be a host name, with a port or without";
}

/** `host` or `host:port`. */
export const authority: z.ZodType<string> = z.string().transform((text, context) => {
  const [, host = "", port] = /^([^:]+)(?::([1-9]\d{0,4}))?$/.exec(text) ?? [];
  const name = wildcardHost.safeParse(host);
  if (!name.success || host.startsWith("*") || (port !== undefined && Number(port) > 65_535))
    return fail(context, `"${text}" is no authority: write a host name, with a port or without`);
  return port === undefined ? name.data : `${name.data}:${port}`;
});

function fields(side: "request" | "response"): z.ZodType<FieldChangesSpec> {
  return message({
    set: values(side).default({}),
    add: values(side).default({}),
    remove: z
      .array(
        z.string().transform((written, context) => {
          const name = written.toLowerCase();
          if (name === "host" || name.startsWith(":")) return fail(context, "cannot be removed: a request needs it");
          const problem = nameProblem(name);
          return problem === undefined ? name : fail(context, problem);
        }),
      )
      .default([]),
  }).transform((found, context): FieldChangesSpec => {
    const { ":authority": setHost, ...set } = found.set;
    const { ":authority": addedHost, ...add } = found.add;
    if (setHost !== undefined && addedHost !== undefined)
      return fail(context, "Host is given in set and in add: keep one");
    const host = setHost ?? addedHost;
    return { set, add, remove: found.remove, ...(host === undefined ? {} : { authority: host }) };
  });
}

export const headerChanges: z.ZodType<HeaderChangesSpec> = message({
  request: fields("request").optional(),
  response: fields("response").optional(),
});
