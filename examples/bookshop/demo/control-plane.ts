import { startControlPlane } from "@trama/control-plane";

/**
 * The control plane in a process of its own, so that the demo can kill it. It reads the YAML folders given as arguments and issues a
 * join token for each service account of the shop.
 */
const [dataDir = "", port = "0", accounts = "", ...configDirs] = process.argv.slice(2);

const controlPlane = await startControlPlane({ configDirs, dataDir, port: Number(port), httpPort: 0 });
const tokens: Record<string, string> = {};
for (const serviceAccount of accounts.split(",")) {
  tokens[serviceAccount] = await controlPlane.issueToken({ namespace: "shop", serviceAccount, lifeSeconds: 3600 });
}
process.send?.({
  kind: "control-plane",
  port: controlPlane.port,
  statusUrl: controlPlane.httpUrl,
  rootCertFile: controlPlane.rootCertFile,
  tokens,
});

const stop = (): void => void controlPlane.close().then(() => process.exit(0));
process.on("disconnect", stop);
process.on("SIGTERM", stop);
// Ctrl-C reaches the whole process group: the demo decides when the control plane goes, after the services.
process.on("SIGINT", () => {});
