import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { startControlPlane } from "@trama/control-plane";
import { namespace } from "../pki.ts";
import { serveSubject } from "../subject.ts";

/**
 * Arguments: folder for the join tokens, YAML folder, data folder, CA folder, service accounts. The first account may also come without
 * TLS, as gRPC's own xDS client for Node must.
 */
const [folder = "", configDir = "", dataDir = "", caDir = "", ...accounts] = process.argv.slice(2);
const [first = ""] = accounts;

const controlPlane = await startControlPlane({
  configDirs: [configDir],
  dataDir,
  caDir,
  port: 0,
  httpPort: 0,
  plaintextPort: 0,
  plaintextNodes: [{ id: plaintextNodeId(first), namespace, serviceAccount: first }],
  shutdownGraceSeconds: 0,
  logLevel: "warn",
});
for (const serviceAccount of accounts) {
  const token = await controlPlane.issueToken({ namespace, serviceAccount, lifeSeconds: 3_600 });
  await writeFile(join(folder, `${serviceAccount}.token`), token, { mode: 0o600 });
}
const plaintextPort = Number(controlPlane.plaintextAddress?.split(":").at(-1));

/** Told apart by number: how many configurations were seen. */
const seen = new Set<string | undefined>();

await serveSubject({
  ready: { port: controlPlane.port, plaintextPort },
  async figures() {
    seen.add(controlPlane.status().snapshotVersion);
    const { user, system } = process.cpuUsage();
    return { configurations: seen.size, cpuMs: (user + system) / 1_000 };
  },
  close: () => controlPlane.close(),
});

/** As `bootstrap` names a workload that is called after its service account. */
function plaintextNodeId(account: string): string {
  return `sidecar~127.0.0.1~${account}.${namespace}~${namespace}.svc.cluster.local`;
}
