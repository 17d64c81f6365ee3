import { readFileSync } from "node:fs";

import type { Bootstrap } from "./bootstrap.ts";
import { parseBootstrap } from "./bootstrap-parse.ts";
import { XdsError, textOf } from "./errors.ts";

/** Where a bootstrap comes from: a file, the text of one, or its JSON already parsed. */
export type BootstrapSource = { readonly file: string } | { readonly text: string } | { readonly json: unknown };

/**
 * What the environment names: `GRPC_XDS_BOOTSTRAP` is the path of a file, else `GRPC_XDS_BOOTSTRAP_CONFIG` is the JSON
 * itself. The first one that is set decides, even if what it names is broken (BS1). `undefined`: neither is set.
 */
export function bootstrapSource(env: Readonly<Record<string, string | undefined>>): BootstrapSource | undefined {
  const file = env["GRPC_XDS_BOOTSTRAP"];
  if (file !== undefined && file !== "") return { file };
  const text = env["GRPC_XDS_BOOTSTRAP_CONFIG"];
  if (text !== undefined && text !== "") return { text };
  return undefined;
}

/** Reads a bootstrap, once, at start. Whatever is wrong is an XdsError `BOOTSTRAP_INVALID` (BS15). */
export function readBootstrap(source: BootstrapSource): Bootstrap {
  if ("json" in source) return parseBootstrap(source.json);
  const where = "file" in source ? source.file : "GRPC_XDS_BOOTSTRAP_CONFIG";
  const text = "file" in source ? readText(source.file) : source.text;
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (error) {
    throw invalid(where, `bootstrap: ${where} is not JSON (${textOf(error)}). Compare it with gRFC A27.`, error);
  }
  return parseBootstrap(json);
}

function readText(file: string): string {
  try {
    return readFileSync(file, "utf8");
  } catch (error) {
    throw invalid(
      file,
      `bootstrap: ${file} cannot be read (${textOf(error)}). Mend the path or its permissions.`,
      error,
    );
  }
}

function invalid(field: string, message: string, cause: unknown): XdsError {
  return new XdsError("BOOTSTRAP_INVALID", message, { field, cause });
}
