import { readFileSync } from "node:fs";

import type { Clock } from "./clock.ts";
import { openConfiguration } from "./configuration.ts";
import type { ControlPlaneConfig } from "./config.ts";
import { formatDiagnostic } from "./diagnostics.ts";
import { ControlPlaneError } from "./errors.ts";
import { defaultMesh } from "./model/mesh.ts";
import { type Networks, oneNetwork } from "./model/networks.ts";
import type { SnapshotSource } from "./snapshot.ts";
import { readNetworks } from "./sources/networks-file.ts";

/** A folder on a file system that does not answer must not keep the server from starting: it is not ready then. */
const FIRST_READ_MS = 5_000;

/** Opens the folders and waits until they were read once: there is a snapshot then, or a finding that says why not. */
export async function openFolders(
  config: Pick<
    ControlPlaneConfig,
    "configDirs" | "trustDomain" | "rootNamespace" | "domain" | "cluster" | "credentialsDir" | "networksFile"
  >,
  clock: Clock,
  rootsPem = "",
): Promise<SnapshotSource> {
  const { configDirs, trustDomain, rootNamespace, domain, cluster, credentialsDir, networksFile } = config;
  const source = openConfiguration({
    folders: configDirs,
    mesh: {
      trustDomain,
      trustDomainAliases: defaultMesh.trustDomainAliases,
      rootNamespace,
      domain,
      cluster,
      credentialsDir,
      rootsPem,
      networks: networksFile === undefined ? oneNetwork : networksIn(networksFile, cluster),
    },
  });
  if (source.current !== undefined || source.diagnostics.length > 0) return source;
  const first = Promise.withResolvers<void>();
  const stops = [
    source.subscribe(() => first.resolve()),
    source.onDiagnostics(() => first.resolve()),
    clock.after(FIRST_READ_MS, () => first.resolve()),
  ];
  await first.promise;
  for (const stop of stops) stop();
  return source;
}

/** With a fault in it callers would be told addresses that they do not reach: there is no start then. */
function networksIn(file: string, cluster: string): Networks {
  let text: string;
  try {
    text = readFileSync(file, "utf8");
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new ControlPlaneError("OPTIONS", `networksFile: ${file} cannot be read: ${reason}`, error);
  }
  const read = readNetworks(file, text, cluster);
  if ("networks" in read) return read.networks;
  const faults = read.diagnostics.map(formatDiagnostic).join("\n");
  throw new ControlPlaneError("OPTIONS", `networksFile is not valid:\n${faults}`);
}
