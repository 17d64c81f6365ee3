import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { startControlPlane } from "@trama/control-plane";
import { namespace } from "../pki.ts";
import { serveSubject } from "../subject.ts";

/** Arguments: folder for the join tokens, YAML folder, data folder, CA folder, service accounts. */
const [folder = "", configDir = "", dataDir = "", caDir = "", ...accounts] = process.argv.slice(2);

const controlPlane = await startControlPlane({
  configDirs: [configDir],
  dataDir,
  caDir,
  port: 0,
  httpPort: 0,
  shutdownGraceSeconds: 0,
  logLevel: "warn",
});
for (const serviceAccount of accounts) {
  const token = await controlPlane.issueToken({ namespace, serviceAccount, lifeSeconds: 3_600 });
  await writeFile(join(folder, `${serviceAccount}.token`), token, { mode: 0o600 });
}

await serveSubject({ ready: { port: controlPlane.port }, close: () => controlPlane.close() });
