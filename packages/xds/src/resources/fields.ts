import { unsupported } from "./error.ts";

/**
 * Refuses a message that says something we neither carry out (`known`) nor may pass over (`harmless`). Decoders list what they
 * read, so that a field which changes behaviour is never passed over in silence. A field at its default value
 * says nothing.
 */
export function onlyFields<T extends object>(
  message: T,
  known: readonly (keyof T)[],
  harmless: readonly (keyof T)[] = [],
): void {
  for (const key of Object.keys(message) as (keyof T & string)[]) {
    if (key.startsWith("$") || isDefault(message[key]) || known.includes(key) || harmless.includes(key)) continue;
    unsupported(fieldName(key, message[key]));
  }
}

/** Refuses the listed fields: for messages most of which is about a proxy's own business. */
export function refuseFields<T extends object>(message: T, refused: readonly (keyof T & string)[]): void {
  for (const key of refused) if (!isDefault(message[key])) unsupported(fieldName(key, message[key]));
}

function isDefault(value: unknown): boolean {
  if (value === undefined || value === "" || value === 0 || value === 0n || value === false) return true;
  if (Array.isArray(value) || value instanceof Uint8Array) return value.length === 0;
  if (typeof value !== "object" || value === null) return false;
  if ("case" in value) return value.case === undefined;
  if ("$typeName" in value) return false;
  for (const _ in value) return false; // a map
  return true;
}

/** xDS's own spelling: `hashPolicy` is `hash_policy`; of a oneof the member counts. */
function fieldName(key: string, value: unknown): string {
  const oneof = typeof value === "object" && value !== null && "case" in value && typeof value.case === "string";
  return snake(oneof ? String(value.case) : key);
}

export function snake(name: string): string {
  return name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
}
