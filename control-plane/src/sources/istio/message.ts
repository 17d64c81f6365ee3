import * as z from "zod";

import { camelCase, nearest } from "../names.ts";

/**
 * A protobuf message as it stands in YAML. Both spellings of a field's name are taken; a field that Istio has and this
 * release does not act on is refused with its remedy (`refused`), and any other name with the field that was probably
 * meant. Nothing is ever passed over in silence.
 */
export function message<S extends z.ZodRawShape>(
  shape: S,
  refused: Readonly<Record<string, string>> = {},
): z.ZodType<z.output<z.ZodObject<S, z.core.$strict>>> {
  const known = new Set([...Object.keys(shape), ...Object.keys(refused)]);
  const object = z.strictObject(shape, {
    error: (issue) =>
      issue.code === "unrecognized_keys" ? issue.keys.map((key) => refusal(key, shape, refused)).join("\n") : undefined,
  });
  return z.preprocess((raw) => withCamelNames(raw, known), object) as unknown as z.ZodType<
    z.output<z.ZodObject<S, z.core.$strict>>
  >;
}

/** One line for each unrecognized name, in order: `explain` pairs them again. */
function refusal(key: string, shape: z.ZodRawShape, refused: Readonly<Record<string, string>>): string {
  const remedy = Object.hasOwn(refused, key) ? refused[key] : undefined;
  if (remedy !== undefined) return `not supported by this release: ${remedy}`;
  if (Object.hasOwn(shape, camelCase(key))) return `given in both spellings: keep ${camelCase(key)}`;
  const meant = nearest(key, Object.keys(shape));
  if (meant !== undefined) return `unknown field, did you mean ${meant}?`;
  return `unknown field; known here: ${Object.keys(shape).join(", ")}`;
}

function withCamelNames(raw: unknown, known: ReadonlySet<string>): unknown {
  if (typeof raw !== "object" || raw === null || Array.isArray(raw)) return raw;
  const renamed: Record<string, unknown> = Object.create(null) as Record<string, unknown>;
  for (const [key, value] of Object.entries(raw)) {
    const camel = camelCase(key);
    renamed[known.has(camel) && !Object.hasOwn(raw, camel) ? camel : key] = value;
  }
  return renamed;
}
