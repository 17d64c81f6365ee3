import * as z from "zod";

import { authority } from "./header-changes.ts";
import { message } from "./message.ts";
import { fail, portNumber, whole } from "./values.ts";

/** `redirect`: what is absent stays as the caller wrote it (istio-api §2.5). */
export interface RedirectSpec {
  readonly uri?: string | undefined;
  readonly prefixRewrite?: string | undefined;
  readonly authority?: string | undefined;
  readonly port?: number | undefined;
  readonly derivePort?: "FROM_PROTOCOL_DEFAULT" | "FROM_REQUEST_PORT" | undefined;
  readonly scheme?: "http" | "https" | undefined;
  readonly redirectCode: number;
}

export interface DirectResponseSpec {
  readonly status: number;
  /** As bytes, whichever way it was written. */
  readonly body?: Uint8Array | undefined;
}

/** Path and query as they go onto the wire. */
export const target: z.ZodType<string> = z.string().transform((text, context) => {
  if (!text.startsWith("/")) return fail(context, "must begin with /");
  if (/[^!-~]/.test(text))
    return fail(context, "has a space, a control or a non-ASCII character in it: percent-encode it");
  return text.includes("#") ? fail(context, "a fragment is never sent: remove # and what follows") : text;
});

const codes = [301, 302, 303, 307, 308];

export const redirect: z.ZodType<RedirectSpec> = message({
  uri: target.optional(),
  prefixRewrite: target.optional(),
  authority: authority.optional(),
  port: portNumber.optional(),
  derivePort: z.enum(["FROM_PROTOCOL_DEFAULT", "FROM_REQUEST_PORT"]).optional(),
  scheme: z.enum(["http", "https"]).optional(),
  redirectCode: z
    .number()
    .refine((code) => codes.includes(code), `must be one of ${codes.join(", ")}`)
    .default(301),
}).transform((found, context): RedirectSpec => {
  const { redirectCode: _code, ...changes } = found;
  if (Object.values(changes).every((value) => value === undefined))
    return fail(
      context,
      "sends every caller back to where it came from: add uri, prefixRewrite, authority, port or scheme",
    );
  if (found.uri !== undefined && found.prefixRewrite !== undefined)
    return fail(context, "only one of uri and prefixRewrite may be given: remove one");
  if (found.port !== undefined && found.derivePort !== undefined)
    return fail(context, "only one of port and derivePort may be given: remove one");
  if (found.authority?.includes(":") === true && (found.port ?? found.derivePort) !== undefined)
    return fail(context, "the port is given in authority already: remove one of the two");
  return found;
});

/** Held in memory by every client, and sent as it is. */
const mostBytes = 1_048_576;

const body = message({ string: z.string().optional(), bytes: z.string().optional() }).transform(
  ({ string, bytes }, context): Uint8Array => {
    if ((string === undefined) === (bytes === undefined))
      return fail(context, "exactly one of string and bytes is needed");
    if (bytes !== undefined && !/^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/.test(bytes))
      return fail(context, "bytes must be base64: use string for plain text");
    const found = bytes === undefined ? Buffer.from(string ?? "", "utf8") : Buffer.from(bytes, "base64");
    if (found.length > mostBytes)
      return fail(context, `has ${found.length} bytes, at most ${mostBytes} can be: serve it from a service`);
    return new Uint8Array(found);
  },
);

export const directResponse: z.ZodType<DirectResponseSpec> = message({
  status: whole(200, 599, "a status"),
  body: body.optional(),
});
