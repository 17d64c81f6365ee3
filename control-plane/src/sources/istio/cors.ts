import * as z from "zod";

import { message } from "./message.ts";
import { type TextMatch, duration, fail, textMatch } from "./values.ts";

/** `corsPolicy` of a rule (istio-api §2.8). */
export interface CorsSpec {
  readonly allowOrigins: readonly TextMatch[];
  /** Written in the old form, as exact texts. */
  readonly deprecated: boolean;
  readonly allowMethods: readonly string[];
  readonly allowHeaders: readonly string[];
  readonly exposeHeaders: readonly string[];
  readonly maxAgeSeconds?: number | undefined;
  readonly allowCredentials: boolean;
  readonly forwardUnmatched: boolean;
}

const token = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/;
const tokens = (what: string): z.ZodDefault<z.ZodType<string[]>> =>
  z
    .array(z.string().regex(token, `is no ${what}: write one an entry`))
    .refine((list) => !list.includes("*") || list.length === 1, `"*" must stand alone: remove the other entries`)
    .default([]);

const seconds = duration.refine((ms) => ms % 1_000 === 0, "must be whole seconds").transform((ms) => ms / 1_000);

export const cors: z.ZodType<CorsSpec> = message({
  allowOrigins: z.array(textMatch({})).default([]),
  allowOrigin: z.array(z.string().min(1, "is empty: remove the entry")).optional(),
  allowMethods: tokens("method"),
  allowHeaders: tokens("header name"),
  exposeHeaders: tokens("header name"),
  maxAge: seconds.optional(),
  allowCredentials: z.boolean().default(false),
  unmatchedPreflights: z.enum(["UNSPECIFIED", "FORWARD", "IGNORE"]).default("UNSPECIFIED"),
}).transform((found, context): CorsSpec => {
  const { allowOrigin: old, allowOrigins, unmatchedPreflights, maxAge, ...rest } = found;
  if (old !== undefined && allowOrigins.length > 0)
    return fail(context, "allowOrigin is the old form of allowOrigins, which is there too: remove it");
  const origins = old?.map((value): TextMatch => ({ kind: "exact", value })) ?? allowOrigins;
  if (origins.length === 0) return fail(context, "names no origin, so none would be allowed: add allowOrigins");
  return {
    ...rest,
    allowOrigins: origins,
    deprecated: old !== undefined,
    maxAgeSeconds: maxAge,
    forwardUnmatched: unmatchedPreflights !== "IGNORE",
  };
});
