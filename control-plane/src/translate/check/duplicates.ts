import type { Diagnostic } from "../../diagnostics.ts";
import { type ConfigObject, objectName } from "../../sources/object.ts";

/** Two objects of one kind, namespace and name: which of them would be meant? */
export function* checkDuplicates(objects: readonly ConfigObject[]): Iterable<Diagnostic> {
  const seen = new Map<string, ConfigObject>();
  for (const object of objects) {
    const name = objectName(object.content);
    const first = seen.get(name);
    if (first === undefined) {
      seen.set(name, object);
      continue;
    }
    yield object.error(
      "conflict",
      ["metadata", "name"],
      `${name} is there already, at ${place(first, ["metadata", "name"])}: rename or remove one of the two`,
    );
  }
}

/** `file:line:column` of a field, for messages that name a second place. */
export function place(object: ConfigObject, path: readonly (string | number)[]): string {
  const { file, line, column } = object.error("conflict", path, "");
  return `${file}:${line}:${column}`;
}
