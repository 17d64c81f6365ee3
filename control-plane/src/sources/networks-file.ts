import type { Diagnostic } from "../diagnostics.ts";
import { type Networks, networks, oneNetwork } from "../model/networks.ts";
import { explain } from "./istio/explain.ts";
import { meshNetworksSchema } from "./istio/mesh-networks.ts";
import { locate, readYaml } from "./yaml.ts";

/** What a file with Istio's `networks:` says, or all that is wrong in it. `registry`: what the endpoints of this control plane are from. */
export function readNetworks(
  file: string,
  text: string,
  registry: string,
): { readonly networks: Networks } | { readonly diagnostics: readonly Diagnostic[] } {
  const { documents, faults } = readYaml(text);
  if (faults.length > 0)
    return { diagnostics: faults.map((fault) => ({ severity: "error", code: "yaml", file, ...fault })) };
  const full = [...documents.entries()].filter(([, { value }]) => value !== undefined && value !== null);
  const [first, second] = full;
  if (first === undefined) return { networks: oneNetwork };
  if (second !== undefined) {
    const message = "a second document: write all networks into one map";
    return { diagnostics: [{ severity: "error", code: "value", file, ...second[1].start, message }] };
  }
  const [index, { value }] = first;
  const parsed = meshNetworksSchema(registry).safeParse(value);
  if (parsed.success) return { networks: networks(parsed.data) };
  const diagnostics = explain(parsed.error.issues, value).map(({ code, path, key, message }): Diagnostic => ({
    severity: "error",
    code,
    file,
    ...locate(text, index, path, key),
    message,
  }));
  return { diagnostics };
}
