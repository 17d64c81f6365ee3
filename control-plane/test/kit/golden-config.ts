import { type ConfigState, ConfigStore } from "../../src/config-store.ts";
import { type MeshSettings, defaultMesh } from "../../src/model/mesh.ts";
import { readNetworks } from "../../src/sources/networks-file.ts";

/**
 * What becomes of the configuration of a golden input. A line `# file: <name>` in it begins another file; what is before the first such line
 * is `file`, and one called `networks.yaml` is that of the option `networksFile`.
 */
export function goldenConfig(input: string, file: string, settings: Partial<MeshSettings> = {}): ConfigState {
  const files = new Map<string, { text: string }>();
  const parts = input.split(/^# file: (\S+)\n/m);
  if (parts[0] !== "") files.set(file, { text: parts[0] ?? "" });
  for (let index = 1; index < parts.length; index += 2) files.set(parts[index] ?? "", { text: parts[index + 1] ?? "" });
  const described = readNetworks("networks.yaml", files.get("networks.yaml")?.text ?? "", defaultMesh.cluster);
  files.delete("networks.yaml");
  if ("diagnostics" in described) return { snapshot: undefined, diagnostics: described.diagnostics };
  const { networks } = described;
  return new ConfigStore({ ...defaultMesh, networks, ...settings }).apply(files);
}
