import { type Registry, createRegistry } from "@bufbuild/protobuf";

let loaded: Promise<Registry> | undefined;

/**
 * The registry of all messages, extensions and services that are generated: it resolves an Any by its type URL, prints
 * and reads protobuf's JSON. Loaded at the first call, because the whole of it costs more than a data plane needs.
 */
export function loadRegistry(): Promise<Registry> {
  loaded ??= import("../gen/files.js").then(({ files }) => createRegistry(...files));
  return loaded;
}
