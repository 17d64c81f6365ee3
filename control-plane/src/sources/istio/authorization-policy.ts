import * as z from "zod";

import { message } from "./message.ts";
import { cut, fail, portNumber, selector } from "./values.ts";

/** AuthorizationPolicy as validated; values keep Istio's form: `a`, `a*`, `*a`, `*` (istio-api §11). */
export interface AuthorizationPolicySpec {
  readonly selector?: { readonly matchLabels: Readonly<Record<string, string>> } | undefined;
  readonly action: "ALLOW" | "DENY";
  /** None: the policy matches nothing. */
  readonly rules: readonly AccessRuleSpec[];
}

/** `undefined` lists: no condition. */
export interface AccessRuleSpec {
  readonly from?: readonly { readonly source: SourceSpec }[] | undefined;
  readonly to?: readonly { readonly operation: OperationSpec }[] | undefined;
}

export interface SourceSpec {
  readonly principals?: readonly string[] | undefined;
  readonly notPrincipals?: readonly string[] | undefined;
  readonly namespaces?: readonly string[] | undefined;
  readonly notNamespaces?: readonly string[] | undefined;
}

export interface OperationSpec {
  readonly hosts?: readonly string[] | undefined;
  readonly notHosts?: readonly string[] | undefined;
  readonly ports?: readonly number[] | undefined;
  readonly notPorts?: readonly number[] | undefined;
  readonly methods?: readonly string[] | undefined;
  readonly notMethods?: readonly string[] | undefined;
  readonly paths?: readonly string[] | undefined;
  readonly notPaths?: readonly string[] | undefined;
}

/** A star at one end, or alone; one anywhere else would be compared literally, which nobody means. */
const pattern = z.string().superRefine((text, context) => {
  if (text === "") context.addIssue("is empty: write a value, or remove it");
  const inner = text.startsWith("*") ? text.slice(1) : text.endsWith("*") ? text.slice(0, -1) : text;
  if (inner.includes("*")) {
    context.addIssue(`"${cut(text)}": one * may stand at the beginning or at the end, not elsewhere`);
  }
});

const path = pattern.superRefine((text, context) => {
  if (/[{}]/.test(text)) {
    context.addIssue(`not supported by this release: path templates ("${cut(text)}"); use a prefix like /books/*`);
  } else if (text !== "" && !text.startsWith("/") && !text.startsWith("*")) {
    context.addIssue(`"${cut(text)}" matches no path: begin with / or *`);
  } else if (/[?#]/.test(text)) {
    context.addIssue(`"${cut(text)}": paths are compared without query and fragment, remove that part`);
  }
});

const principal = pattern.transform((text) => text.replace(/^spiffe:\/\//, ""));

/** Istio writes ports as text; the number itself means the same. */
const portText = z.union([z.string(), z.number()]).transform((written, context) => {
  const port = portNumber.safeParse(/^\d{1,5}$/.test(String(written)) ? Number(written) : undefined);
  return port.success ? port.data : fail(context, `"${cut(String(written))}" is no port: write a number up to 65535`);
});

function list<T>(item: z.ZodType<T>): z.ZodOptional<z.ZodType<T[]>> {
  return z.array(item).min(1, "is an empty list: write a value, or remove the field").max(512).optional();
}

function notEmpty(found: object): boolean {
  return Object.values(found).some((value) => value !== undefined);
}

const jwt = "request authentication by JWT is not there yet; use principals or namespaces";
const ip = "conditions on addresses; use principals or namespaces";
const identity = "use principals or namespaces";

const source = message(
  {
    principals: list(principal),
    notPrincipals: list(principal),
    namespaces: list(pattern),
    notNamespaces: list(pattern),
  },
  {
    requestPrincipals: jwt,
    notRequestPrincipals: jwt,
    serviceAccounts: identity,
    notServiceAccounts: identity,
    trustDomains: identity,
    notTrustDomains: identity,
    ipBlocks: ip,
    notIpBlocks: ip,
    remoteIpBlocks: ip,
    notRemoteIpBlocks: ip,
  },
).refine(notEmpty, "is empty: write a condition, or remove from to take every caller");

const operation = message({
  hosts: list(pattern),
  notHosts: list(pattern),
  ports: list(portText),
  notPorts: list(portText),
  methods: list(pattern),
  notMethods: list(pattern),
  paths: list(path),
  notPaths: list(path),
}).refine(notEmpty, "is empty: write a condition, or remove to to take every request");

const emptyList = "is an empty list: write an entry, or remove the field";

const rule = message(
  {
    from: z.array(message({ source })).min(1, emptyList).max(512).optional(),
    to: z.array(message({ operation })).min(1, emptyList).max(512).optional(),
  },
  { when: "further conditions; use from and to" },
);

export const authorizationPolicySchema: z.ZodType<AuthorizationPolicySpec> = message(
  {
    selector: selector.optional(),
    action: z
      .enum(["ALLOW", "DENY"], {
        error: (issue) =>
          issue.input === "CUSTOM" || issue.input === "AUDIT"
            ? `not supported by this release: action ${issue.input}; use ALLOW or DENY`
            : undefined,
      })
      .default("ALLOW"),
    rules: z.array(rule).max(512).default([]),
  },
  {
    targetRef: "targets; use a selector",
    targetRefs: "targets; use a selector",
    provider: "external authorization; use ALLOW or DENY",
  },
).superRefine(({ action, rules }, context) => {
  if (action === "DENY" && rules.length === 0) {
    const message = "a DENY policy without rules can never match: write a rule ({} matches every request)";
    context.addIssue({ code: "custom", path: ["rules"], message });
  }
});
