import type { Call } from "../call.ts";
import type { HeaderMatch } from "../config.ts";
import type { Env } from "../env.ts";
import { MeshError } from "../errors.ts";
import type { HeaderList } from "../headers.ts";
import { compileString } from "./string.ts";
import type { TextTest } from "./regex.ts";
import { wireText } from "./wire-text.ts";

/** A compiled condition on one header of a call. */
export type CallTest = (call: Call) => boolean;

/** A compiled condition on one field of a list, such as an answer's. */
export type FieldTest = (headers: HeaderList) => boolean;

/** How several values of one field count in authorization: a DENY is met by any of them, an ALLOW needs them all. */
export type Quantifier = "any" | "all";

/**
 * Route matching (R31). A field that came several times is met when any of its values is, as in Envoy, and inversion is of that
 * whole; to gRPC its values are one text joined by `,`, as gRFC A28 has it. An absent header never matches, not even an
 * inverted condition, unless the condition is about presence or treats absence as empty text.
 */
export function compileHeader(match: HeaderMatch, env: Pick<Env, "regex">): CallTest {
  const { name, invert, missingIsEmpty } = match;
  const read = reader(name);
  if (match.test.kind === "present") {
    // Envoy: "missing is empty" makes the header present.
    const { present } = match.test;
    return (call) => ((missingIsEmpty || read(call) !== undefined) === present) !== invert;
  }
  const test = valueTest(match.test, env.regex);
  const whenAbsent = missingIsEmpty && test("") !== invert;
  const single = isPseudo(name);
  const any = anyValue(name, test, invert, missingIsEmpty);
  return (call) => {
    if (!single && call.protocol !== "grpc") return any(call.headers);
    const value = read(call);
    return value === undefined ? whenAbsent : test(value) !== invert;
  };
}

/** The same for the fields of an answer, where nothing is a pseudo field and gRPC is not told apart. */
export function compileField(match: HeaderMatch, env: Pick<Env, "regex">): FieldTest {
  const { name, invert, missingIsEmpty } = match;
  if (match.test.kind === "present") {
    const { present } = match.test;
    return (headers) => ((missingIsEmpty || headers.has(name)) === present) !== invert;
  }
  return anyValue(name, valueTest(match.test, env.regex), invert, missingIsEmpty);
}

function anyValue(name: string, test: TextTest, invert: boolean, missingIsEmpty: boolean): FieldTest {
  const whenAbsent = missingIsEmpty && test("") !== invert;
  return (headers) => {
    const values = headers.all(name);
    if (values.length === 0) return whenAbsent;
    for (const value of values) if (test(value)) return !invert;
    return invert;
  };
}

/**
 * Authorization (dataplane.md §23 rule 4): every value is compared by itself, so that no peer can hide one behind a
 * second one. Inversion belongs to the comparison; absence is treated as in routing.
 */
export function compileHeaderStrict(match: HeaderMatch, quantifier: Quantifier, env: Pick<Env, "regex">): CallTest {
  const { name, test: condition, invert, missingIsEmpty } = match;
  if (isPseudo(name)) return compileHeader(match, env);
  const values = (call: Call): readonly string[] =>
    name === "te" && call.protocol === "grpc" ? NONE : call.headers.all(name);
  if (condition.kind === "present")
    return (call) => ((missingIsEmpty || values(call).length > 0) === condition.present) !== invert;
  const test = valueTest(condition, env.regex);
  const decisive = quantifier === "any";
  return (call) => {
    const all = values(call);
    if (all.length === 0) return missingIsEmpty && test("") !== invert;
    for (const value of all) if ((test(value) !== invert) === decisive) return decisive;
    return !decisive;
  };
}

const NONE: readonly string[] = [];

/** Whether the name is the host of the request, whichever way it is spelt (R56). */
export function isHost(name: string): boolean {
  return name === ":authority" || name === "host";
}

export function isPseudo(name: string): boolean {
  return name.startsWith(":") || name === "host";
}

/** What reads a pseudo header, or all values of a header as one text. */
export function reader(name: string): (call: Call) => string | undefined {
  if (isHost(name)) return (call) => call.authority;
  if (name === ":method") return (call) => call.method;
  if (name === ":path") return (call) => call.path;
  if (name === ":scheme") return (call) => call.scheme;
  if (name.startsWith(":"))
    throw new MeshError(
      "INTERNAL",
      `no header matcher can read "${name}": use :authority, :method, :path or :scheme (R56)`,
    );
  const own = (call: Call): string | undefined => call.headers.joined(name);
  // gRPC routing cannot see binary metadata, nor the hop-by-hop `te` (R31, R56).
  if (name === "te" || name.endsWith("-bin")) return (call) => (call.protocol === "grpc" ? undefined : own(call));
  return own;
}

type ValueTest = Exclude<HeaderMatch["test"], { readonly kind: "present" }>;

/** The comparison of one value, for those who bring their own readings of a header. */
export function valueTest(test: ValueTest, regex: Env["regex"]): TextTest {
  if (test.kind === "range") return inRange(test.start, test.end);
  return compileString({ ...test.match, value: wireText(test.match.value) }, regex);
}

/** Signed decimal integers of 64 bits, half open. Anything else is not in any range. */
function inRange(start: number, end: number): TextTest {
  return (text) => {
    if (!/^[+-]?\d{1,19}$/.test(text)) return false;
    const value = Number(text);
    return value >= start && value < end;
  };
}
