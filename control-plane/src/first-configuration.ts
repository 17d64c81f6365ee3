import type { Clock } from "./clock.ts";
import { openConfiguration } from "./configuration.ts";
import type { ControlPlaneConfig } from "./config.ts";
import { defaultMesh } from "./model/mesh.ts";
import type { SnapshotSource } from "./snapshot.ts";

/** A folder on a file system that does not answer must not keep the server from starting: it is not ready then. */
const FIRST_READ_MS = 5_000;

/** Opens the folders and waits until they were read once: there is a snapshot then, or a finding that says why not. */
export async function openFolders(
  config: Pick<
    ControlPlaneConfig,
    "configDirs" | "trustDomain" | "rootNamespace" | "domain" | "cluster" | "credentialsDir"
  >,
  clock: Clock,
  rootsPem = "",
): Promise<SnapshotSource> {
  const { configDirs, trustDomain, rootNamespace, domain, cluster, credentialsDir } = config;
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
