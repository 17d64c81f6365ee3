import { startControlPlane, type ControlPlaneStatus, type Diagnostic } from "@trama/control-plane";
import { answer, notReady, ready } from "../harness/rpc.ts";

/** The control plane in a process of its own, so that a test can kill it. */
export type ControlPlaneOptions = Parameters<typeof startControlPlane>[0];

export interface ControlPlaneReady {
  readonly port: number;
  readonly httpUrl: string;
  readonly rootCertFile: string;
}

export interface TokenOptions {
  readonly namespace: string;
  readonly serviceAccount: string;
  readonly lifeSeconds: number;
}

const options = JSON.parse(process.argv[2] ?? "{}") as ControlPlaneOptions;
const controlPlane = await startControlPlane(options).catch((error: unknown) => {
  notReady(error);
  throw error;
});

const methods = {
  issueToken: (options: TokenOptions): Promise<string> => controlPlane.issueToken(options),
  status: (): ControlPlaneStatus => controlPlane.status(),
  diagnostics: (): readonly Diagnostic[] => controlPlane.diagnostics,
};
export type ControlPlaneMethods = typeof methods;

answer(methods);
process.on("SIGTERM", () => void controlPlane.close().then(() => process.exit(0)));
ready({
  port: controlPlane.port,
  httpUrl: controlPlane.httpUrl,
  rootCertFile: controlPlane.rootCertFile,
} satisfies ControlPlaneReady);
