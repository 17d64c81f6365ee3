import { isIP } from "node:net";

import { RE2JS } from "re2js";
import * as z from "zod";

import { message } from "./message.ts";

/** A condition on text, as Istio writes it: one of exact, prefix, regex; `present` where the YAML has `{}`. */
export type TextMatch =
  | { readonly kind: "exact" | "prefix" | "regex"; readonly value: string }
  | { readonly kind: "present" };

const maxRegexLength = 1024;

/** `1.5s`, `300ms`, `1m30s` → milliseconds; at least 1 ms and a whole number of them (istio-api §1.2). */
export const duration: z.ZodType<number> = z.string().transform(checkedDuration);

function checkedDuration(text: string, context: IssueSink): number {
  const ms = milliseconds(text);
  if (ms === undefined)
    return fail(context, `"${cut(text)}" is no duration: write a number and a unit, like 1.5s or 300ms`);
  if (!Number.isSafeInteger(ms))
    return fail(context, `${cut(text)} is no whole number of milliseconds: round it to 1ms`);
  if (ms < 1) return fail(context, `${cut(text)} is less than 1ms: leave the field out to have none`);
  // The longest that a protobuf Duration can hold.
  if (ms > 315_576_000_000_000) return fail(context, `${cut(text)} is too long: leave the field out to have no limit`);
  return ms;
}

/** A duration of which zero switches something off, such as Istio's `idleTimeout: 0s`. */
export const durationOrOff: z.ZodType<number> = z
  .string()
  .transform((text, context) => (milliseconds(text) === 0 ? 0 : checkedDuration(text, context)));

const unitMs: Readonly<Record<string, number>> = {
  h: 3_600_000,
  m: 60_000,
  s: 1_000,
  ms: 1,
  us: 1e-3,
  µs: 1e-3,
  ns: 1e-6,
};

/** `undefined`: no duration at all. */
export function milliseconds(text: string): number | undefined {
  if (!/^(\d{1,18}(\.\d{1,9})?(h|ms|m|s|us|µs|ns)){1,6}$/.test(text)) return undefined;
  let sum = 0;
  for (const [, number = "", , unit = ""] of text.matchAll(/(\d+(\.\d+)?)(h|ms|m|s|us|µs|ns)/g)) {
    sum += Number(number) * (unitMs[unit] ?? Number.NaN);
  }
  // 0.3s is 300 and not 299.99999999999994; a tenth of a microsecond is still seen as a fraction.
  const whole = Math.round(sum);
  return Math.abs(sum - whole) < 1e-6 ? whole : sum;
}

/** `{value: 0.1}` is 0.1 %, not 10 % → parts of a million. */
export const percentage: z.ZodType<number> = message({
  value: z
    .number()
    .min(0, "must be between 0 and 100: it is a percentage")
    .max(100, "must be between 0 and 100: it is a percentage")
    .default(0),
}).transform(({ value }, context) => {
  const perMillion = Math.round(value * 10_000);
  if (value > 0 && perMillion === 0) return fail(context, "smaller than can be drawn: the least is 0.0001");
  return perMillion;
});

export const portNumber: z.ZodType<number> = whole(1, 65_535, "a port number");

/** A plain integer field: 0 means "unset, use the default" (istio-api §1.2). */
export const count: z.ZodType<number | undefined> = whole(0, 4_294_967_295, "a number").transform((n) =>
  n === 0 ? undefined : n,
);

export function whole(least: number, most: number, what: string): z.ZodType<number> {
  const text = `must be ${what}, a whole number from ${least} to ${most}`;
  return z.number().refine((n) => Number.isInteger(n) && n >= least && n <= most, text);
}

/** Lower case; no other character, so that a host can be part of a resource's name. */
export const hostName: z.ZodType<string> = hostPattern(false);
export const wildcardHost: z.ZodType<string> = hostPattern(true);

function hostPattern(wildcard: boolean): z.ZodType<string> {
  return z.string().transform((text, context) => {
    const host = text.toLowerCase();
    const name = wildcard && host.startsWith("*.") ? host.slice(2) : host;
    if (
      host.length <= 253 &&
      /^[a-z0-9_]([-a-z0-9_]{0,61}[a-z0-9_])?(\.[a-z0-9_]([-a-z0-9_]{0,61}[a-z0-9_])?)*$/.test(name)
    ) {
      return host;
    }
    if (host.startsWith("*") && !wildcard)
      return fail(context, `"${cut(text)}": a wildcard cannot stand here, name one host`);
    return fail(context, `"${cut(text)}" is no host name: write one like reviews.shop.svc.cluster.local`);
  });
}

/** Name of a subset, a service account, a namespace. */
export const dnsLabel: z.ZodType<string> = z
  .string()
  .regex(/^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$/, "must be lower-case letters, digits and hyphens, at most 63");

export const dnsName: z.ZodType<string> = z
  .string()
  .regex(/^[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?$/, "must be lower-case letters, digits, hyphens and dots, at most 253");

/** An IP address, IPv6 without brackets or zone, a full host name, or a Unix socket: its path, or `@` and an abstract name. */
export const workloadAddress: z.ZodType<string> = z.string().transform((text, context) => {
  if (isIP(text) !== 0 && !text.includes("%")) return text.toLowerCase();
  const socket = /^(?:unix:\/\/)?(@.*)$|^unix:(?:\/\/)?(\/.*|.*)$/s.exec(text);
  if (socket !== null) {
    const path = socket[1] ?? socket[2] ?? "";
    // What fits into the kernel's structure.
    if (/^(\/.*[^/]|@.+)$/.test(path) && !path.includes("\0") && Buffer.byteLength(path) <= 107) return path;
    return fail(context, `"${cut(text)}" is no Unix socket: write unix:///path or unix://@name, at most 107 bytes`);
  }
  // What looks like numbers was meant as an address.
  if (!/^[\d.]*$|:/.test(text) && hostName.safeParse(text).success) return text.toLowerCase();
  return fail(context, `"${cut(text)}" is neither an IP address nor a host name`);
});

/** Of an L3 network, as a label's value; empty: not said. */
export const networkName: z.ZodType<string> = z
  .string()
  .regex(
    /^([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?$/,
    "is no network: letters, digits, `-`, `_` and `.`, at most 63",
  );

/** `region/zone/subzone`, or a beginning of it. */
export const localityText: z.ZodType<string> = z
  .string()
  .regex(/^[^/\s]*(\/[^/\s]*){0,2}$/, "is no locality: write region/zone/subzone");

/** Of an address that was read above. */
export function isUnixSocket(address: string): boolean {
  return address.startsWith("/") || address.startsWith("@");
}

/** Kubernetes' rules; the values end up in metadata that is divided by `;`. */
export const labels: z.ZodType<Readonly<Record<string, string>>> = z.record(
  z
    .string()
    .max(317)
    .regex(
      /^([a-z0-9]([-a-z0-9.]*[a-z0-9])?\/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$/,
      "is no label name: letters, digits, `-`, `_` and `.`, at most 63, with an optional prefix and `/`",
    ),
  z
    .string()
    .regex(
      /^([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?$/,
      "is no label value: letters, digits, `-`, `_` and `.`, at most 63; quote numbers and true/false",
    ),
);

export const selector: z.ZodType<{ readonly matchLabels: Readonly<Record<string, string>> }> = message({
  matchLabels: labels.default({}),
});

/** Whoever may use an object; `nobody` is written `~`. */
function exportList(nobody: boolean): z.ZodType<readonly string[]> {
  const alone = nobody ? ["*", "~"] : ["*"];
  const entry = z.string().refine((text) => text === "." || alone.includes(text) || dnsLabel.safeParse(text).success, {
    error: (issue) =>
      issue.input === "~"
        ? "~ hides a ServiceEntry from everyone, and nothing else: leave the object out"
        : `"${cut(String(issue.input))}" must be "." (own namespace), "*" (all) or the name of a namespace`,
  });
  return z
    .array(entry)
    .refine((list) => list.length === 1 || !list.includes("*"), `"*" must stand alone: remove the other entries`)
    .refine((list) => list.length === 1 || !list.includes("~"), `"~" must stand alone: remove the other entries`)
    .refine((list) => new Set(list).size === list.length, "names a namespace twice: remove one of the two");
}

export const exportTo: z.ZodType<readonly string[]> = exportList(false);
/** Of a ServiceEntry, which alone may be hidden from everyone. */
export const serviceExportTo: z.ZodType<readonly string[]> = exportList(true);

export const regex: z.ZodType<string> = z.string().transform(checkedRegex);

function checkedRegex(text: string, context: IssueSink): string {
  if (text === "") return fail(context, "an empty regex is not allowed: remove the condition, or write one");
  if (text.length > maxRegexLength)
    return fail(context, `a regex has at most ${maxRegexLength} characters: shorten it`);
  try {
    RE2JS.compile(text);
    return text;
  } catch (error) {
    const reason = (error instanceof Error ? error.message : String(error)).replace("error parsing regexp: ", "");
    return fail(
      context,
      `not a valid RE2 regex, ${cut(reason)}: mend it; RE2 has no look-around and no back-references`,
    );
  }
}

/** `allow` says which of the odd forms mean something here. */
export function textMatch(allow: { readonly present?: boolean; readonly emptyPrefix?: boolean }): z.ZodType<TextMatch> {
  return message({
    exact: z.string().optional(),
    prefix: z.string().optional(),
    // `*` is no regex: Istio reads it as "present" where presence can be asked for.
    regex: z
      .string()
      .transform((text, context) => (text === "*" && allow.present === true ? text : checkedRegex(text, context)))
      .optional(),
  }).transform((match, context): TextMatch => {
    const given = Object.entries(match).filter(([, value]) => value !== undefined);
    const [first] = given;
    if (given.length > 1) return fail(context, `only one of exact, prefix, regex may be given: remove the others`);
    if (first === undefined) {
      return allow.present === true ? { kind: "present" } : fail(context, "one of exact, prefix, regex is needed");
    }
    const [kind, value] = first as ["exact" | "prefix" | "regex", string];
    if (kind === "regex" && value === "*") return { kind: "present" };
    if (kind === "prefix" && value === "" && allow.emptyPrefix !== true) {
      return fail(context, "an empty prefix is not allowed: remove the condition");
    }
    return { kind, value };
  });
}

interface IssueSink {
  addIssue(message: string): void;
}

/** Adds an issue at the value itself, from inside a transform. */
export function fail(context: IssueSink, text: string): never {
  context.addIssue(text);
  return z.NEVER;
}

/** What a user wrote, short enough for a message. */
export function cut(text: string): string {
  const line = text.replaceAll(/\s+/g, " ");
  return line.length > 60 ? `${line.slice(0, 57)}…` : line;
}
