import type { Call } from "../call.ts";
import { MeshError } from "../errors.ts";
import type { HeaderList } from "../headers.ts";
import { isHost } from "../match/header.ts";
import { wireText } from "../match/wire-text.ts";

/** Makes a header value for a call. `answer` holds the fields of its answer, once there is one. */
export type Format = (call: Call, answer: HeaderList | undefined) => string;

/**
 * Compiles a header value with Envoy's operators (`%NAME(ARGUMENTS):LENGTH%`; `%%` is a percent sign). What an operator cannot
 * say is empty text. The set is what means the same in a process as in a proxy:
 *
 * - `%REQ(X?Y):Z%`: the request's field X, else Y, at most Z characters; `:method`, `:authority`, `:path` and `:scheme` as well. Of a
 *   field that came several times the first.
 * - `%RESP(X?Y):Z%`: the same of the answer.
 * - `%UPSTREAM_CLUSTER%`, `%ROUTE_NAME%`.
 * - `%UPSTREAM_HOST%`: address of the endpoint that answered; empty before.
 *
 * Gives text instead of a function when there is no operator.
 */
export function compileFormat(text: string): Format | string {
  const parts = partsOf(text);
  const literal = parts.every((part) => typeof part === "string") ? parts.join("") : undefined;
  if (literal !== undefined) return literal;
  const formats = parts.map((part): Format => (typeof part === "string" ? () => part : part));
  const [only] = formats;
  if (only !== undefined && formats.length === 1) return only;
  return (call, answer) => {
    let value = "";
    for (const format of formats) value += format(call, answer);
    return value;
  };
}

/** Why a value cannot be compiled, in words for the control plane; `undefined` when it can. */
export function formatFault(text: string): string | undefined {
  try {
    compileFormat(text);
    return undefined;
  } catch (thrown) {
    return MeshError.from(thrown).message;
  }
}

const operator = /%(?:%|([A-Z0-9_]+)(?:\(([^)%]*)\))?(?::(\d{1,5}))?%)/g;

function partsOf(text: string): (string | Format)[] {
  const parts: (string | Format)[] = [];
  const add = (literal: string): void => {
    if (literal.includes("%")) throw new MeshError("INTERNAL", `a percent sign that begins no operator; write %%`);
    if (literal !== "") parts.push(wireText(literal));
  };
  let at = 0;
  for (const { 0: whole, 1: name, 2: subject, 3: length, index } of text.matchAll(operator)) {
    add(text.slice(at, index));
    at = index + whole.length;
    parts.push(name === undefined ? "%" : cut(named(name, subject), length));
  }
  add(text.slice(at));
  return parts;
}

function named(name: string, subject: string | undefined): Format {
  if (name === "REQ" || name === "RESP") {
    const [first = "", second] = (subject ?? "").toLowerCase().split("?");
    if (!fieldName.test(first) || (second !== undefined && !fieldName.test(second)))
      throw new MeshError("INTERNAL", `%${name}(…)% takes the name of a field, or two divided by a question mark`);
    return name === "REQ" ? alternative(first, second, request) : alternative(first, second, response);
  }
  const format = subject === undefined ? plain[name] : undefined;
  if (format === undefined) throw new MeshError("INTERNAL", `the operator %${name}% is not supported by this release`);
  return format;
}

const fieldName = /^:?[!#$&'*+.^_`|~0-9a-z-]+$/;

const plain: Readonly<Record<string, Format | undefined>> = {
  UPSTREAM_CLUSTER: ({ record }) => record.cluster?.name ?? "",
  UPSTREAM_HOST: ({ record }, answer) => (answer === undefined ? "" : (record.endpoint?.address ?? "")),
  ROUTE_NAME: ({ record }) => record.route,
};

type Reader = (name: string) => (call: Call, answer: HeaderList | undefined) => string | undefined;

function alternative(first: string, second: string | undefined, reader: Reader): Format {
  const main = reader(first);
  if (second === undefined) return (call, answer) => main(call, answer) ?? "";
  const other = reader(second);
  return (call, answer) => main(call, answer) ?? other(call, answer) ?? "";
}

const request: Reader = (name) => {
  if (isHost(name)) return (call) => call.authority;
  switch (name) {
    case ":method":
      return (call) => call.method;
    case ":path":
      return (call) => call.path;
    case ":scheme":
      return (call) => call.scheme;
  }
  if (name.startsWith(":")) throw new MeshError("INTERNAL", `%REQ(${name})%: there is no such field`);
  return (call) => call.headers.get(name);
};

const response: Reader = (name) => {
  if (name.startsWith(":")) throw new MeshError("INTERNAL", `%RESP(${name})%: an answer has no such field here`);
  return (_call, answer) => answer?.get(name);
};

function cut(format: Format, length: string | undefined): Format {
  if (length === undefined) return format;
  const most = Number(length);
  return (call, answer) => {
    const value = format(call, answer);
    return value.length > most ? value.slice(0, most) : value;
  };
}
