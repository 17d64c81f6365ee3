import type { HttpRuleSpec } from "./virtual-service.ts";
import { cut, milliseconds } from "./values.ts";

/** When a second attempt joins one that is slow: after the time that most answers take, after a fixed one, or both. */
export interface HedgeSpec {
  /** 95: of a hundred answers, so many have come by then. */
  readonly percent: number | undefined;
  /** Alone, or for as long as too few answers were seen. */
  readonly afterMs: number | undefined;
}

type Rules = readonly Pick<HttpRuleSpec, "name" | "retries" | "route">[];

/**
 * `trama.io/idempotent` of a VirtualService: names of rules, or `*` for all, whose requests can be repeated whatever their method.
 * Gives whether that holds, by rule, or says what is wrong.
 */
export function readIdempotent(text: string, rules: Rules): readonly boolean[] | string {
  const found = rules.map(() => false);
  for (const name of parts(text)) {
    const meant = indices(name, rules);
    if (typeof meant === "string") return meant;
    for (const at of meant) found[at] = true;
  }
  return found;
}

/** `trama.io/hedge`: `rule=p95`, `rule=50ms` or `rule=p95/50ms` each, `*` for all rules that are not named. */
export function readHedges(text: string, rules: Rules): readonly (HedgeSpec | undefined)[] | string {
  const found: (HedgeSpec | undefined)[] = rules.map(() => undefined);
  const entries = parts(text).map((part) => part.split("="));
  // Names beat the star, wherever it stands.
  for (const [name = "", when, more] of entries.toSorted(([a], [b]) => Number(b === "*") - Number(a === "*"))) {
    const hedge = when === undefined || more !== undefined ? undefined : readHedge(when.trim());
    if (hedge === undefined)
      return `"${cut([name, when].join("="))}" is not of the form rule=p95, rule=50ms or rule=p95/50ms`;
    const meant = indices(name.trim(), rules);
    if (typeof meant === "string") return meant;
    for (const at of meant) {
      if (rules[at]!.retries?.attempts === 0 && name.trim() !== "*")
        return `the rule "${cut(name.trim())}" has no retries, and a hedge counts as one: give it attempts`;
      found[at] = hedge;
    }
  }
  return found;
}

function readHedge(text: string): HedgeSpec | undefined {
  const [, percent, , time] = /^(?:p(5\d|[6-9]\d|99\.\d))?(\/)?(\d.*)?$/.exec(text) ?? [];
  const both = percent !== undefined && time !== undefined;
  const afterMs = time === undefined ? undefined : milliseconds(time);
  if ((percent === undefined && time === undefined) || both !== text.includes("/")) return undefined;
  if (
    time !== undefined &&
    (afterMs === undefined || !Number.isSafeInteger(afterMs) || afterMs < 1 || afterMs > 0x7fff_ffff)
  )
    return undefined;
  return { percent: percent === undefined ? undefined : Number(percent), afterMs };
}

function parts(text: string): readonly string[] {
  return text.split(",").map((part) => part.trim());
}

/** The places of the rules of that name. */
function indices(name: string, rules: Rules): readonly number[] | string {
  const found = rules.flatMap((rule, at) => (name === "*" || (rule.name === name && name !== "") ? [at] : []));
  if (found.length > 0) return found;
  const known = rules.flatMap((rule) => (rule.name === "" ? [] : [rule.name]));
  return `no rule is named "${cut(name)}": ${known.length === 0 ? "give rules a name, or write *" : `there are ${known.join(", ")}`}`;
}
