import type * as z from "zod";

import type { DiagnosticCode } from "../../diagnostics.ts";
import { camelCase, nearest } from "../names.ts";
import type { Path } from "../yaml.ts";
import { cut } from "./values.ts";

export interface Finding {
  readonly code: DiagnosticCode;
  readonly path: Path;
  /** The name in front of the value is what is wrong. */
  readonly key: boolean;
  readonly message: string;
}

/** What a schema found, in words that say what to do; `raw` is the value that was read. */
export function explain(issues: readonly z.core.$ZodIssue[], raw: unknown): readonly Finding[] {
  return issues.flatMap((issue) => explainOne(issue, raw));
}

function explainOne(issue: z.core.$ZodIssue, raw: unknown): readonly Finding[] {
  const path = issue.path.map((segment) => (typeof segment === "symbol" ? String(segment) : segment));
  const where = fieldPath(path);
  const value = valueAt(raw, path);
  const about = (text: string): string => (where === "" ? text : `${where}: ${text}`);
  const found = (text: string): readonly Finding[] => {
    const code = text.startsWith("not supported by this release") ? "unsupported" : "value";
    return [{ code, path, key: false, message: about(text) }];
  };
  if (issue.code !== "unrecognized_keys" && issue.code !== "invalid_format" && isOwn(issue))
    return found(issue.message);
  switch (issue.code) {
    case "unrecognized_keys": {
      const lines = issue.message.split("\n");
      return issue.keys.map((key, index) => {
        const text = lines[index] ?? "unknown field";
        const full = [...path, key];
        const code = text.startsWith("unknown") ? "unknown-field" : text.startsWith("not") ? "unsupported" : "value";
        return { code, path: full, key: true, message: `${fieldPath(full)}: ${text}` };
      });
    }
    case "invalid_key":
      return [{ code: "value", path, key: true, message: about(issue.issues[0]?.message ?? "is no name") }];
    case "invalid_type":
      if (value === undefined) return found(`is missing: ${wanted(issue.expected)} is needed`);
      if (value === null) return found("has no value: give it one, or remove the field");
      return found(`must be ${wanted(issue.expected)}, not ${described(value)}`);
    case "invalid_value": {
      const choice = issue.values.map(String);
      if (value === undefined) return found(`is missing: one of ${choice.join(", ")} is needed`);
      const meant = typeof value === "string" ? nearest(value, choice) : undefined;
      const hint = meant === undefined ? "" : `, did you mean ${meant}?`;
      return found(`must be one of ${choice.join(", ")}; not ${described(value)}${hint}`);
    }
    case "too_small":
      return found(`needs at least ${issue.minimum} of them`);
    case "too_big":
      return found(`takes at most ${issue.maximum} of them: divide the object`);
    case "invalid_format":
      return found(`${described(value)} ${issue.message}`);
    default:
      return found(issue.message);
  }
}

/** A message that a schema of ours gave: it needs no further words. The library's own begin like these. */
function isOwn(issue: z.core.$ZodIssue): boolean {
  return !/^(Invalid|Too) /.test(issue.message);
}

/** `spec.http[0].route[1].weight`. */
export function fieldPath(path: Path): string {
  let text = "";
  for (const segment of path) {
    if (typeof segment === "number") text += `[${segment}]`;
    else if (/^[A-Za-z_]\w*$/.test(segment)) text += text === "" ? segment : `.${segment}`;
    else text += `["${cut(segment)}"]`;
  }
  return text;
}

function valueAt(raw: unknown, path: Path): unknown {
  let value = raw;
  for (const segment of path) {
    if (typeof value !== "object" || value === null) return undefined;
    const holder = value as Readonly<Record<string | number, unknown>>;
    const name = Object.keys(holder).find((key) => key === String(segment) || camelCase(key) === segment);
    value = name === undefined ? undefined : holder[name];
  }
  return value;
}

const wantedWords: Readonly<Record<string, string>> = {
  string: "text",
  number: "a number",
  int: "a whole number",
  boolean: "true or false",
  array: "a list",
  object: "a map of fields",
  record: "a map",
};

function wanted(expected: string): string {
  return wantedWords[expected] ?? expected;
}

function described(value: unknown): string {
  if (typeof value === "string") return `"${cut(value)}"`;
  if (Array.isArray(value)) return "a list";
  if (typeof value === "object" && value !== null) return "a map";
  if (typeof value === "number") return `the number ${value}`;
  return String(value);
}
