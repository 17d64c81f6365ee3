import { rmSync } from "node:fs";
import { mkdir, mkdtemp, rename, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createPki, namespace, spiffeIdOf } from "./pki.ts";
import { start, type Remote } from "./process.ts";

export const serviceCount = 100;
export const routesEach = 10;

/** Service accounts; each has a plain certificate in the folder and a join token. */
export const accounts = ["client", "backend", "target"] as const;
export type Account = (typeof accounts)[number];

/** A control plane with 100 services of 10 routes each, and the certificates of everyone. */
export interface World {
  readonly folder: string;
  readonly configDir: string;
  /** What a process needs to join as that service account. */
  environment(account: Account): Readonly<Record<string, string>>;
  /** Gives these ports of the loopback interface to the services, the same number to each. */
  registerBackend(ports: readonly number[]): Promise<void>;
  close(): Promise<void>;
}

export async function openWorld(): Promise<World> {
  const folder = await mkdtemp(join(tmpdir(), "trama-bench-"));
  const configDir = join(folder, "mesh");
  const caDir = join(folder, "ca");
  const dataDir = join(folder, "control-plane");
  // It holds keys: it goes however the driver ends.
  process.once("exit", () => rmSync(folder, { recursive: true, force: true }));
  let controlPlane: Remote | undefined;
  const close = async (): Promise<void> => {
    await controlPlane?.close();
    await rm(folder, { recursive: true, force: true });
  };
  try {
    const pki = await createPki();
    await mkdir(configDir);
    await mkdir(caDir);
    const files: [string, string][] = [
      [join(caDir, "ca-cert.pem"), pki.rootPem],
      [join(caDir, "root-cert.pem"), pki.rootPem],
      [join(caDir, "ca-key.pem"), pki.rootKeyPem],
      [join(folder, "root-cert.pem"), pki.rootPem],
      [join(configDir, "services.yaml"), services().join("---\n")],
      [join(configDir, "security.yaml"), security()],
    ];
    for (const account of accounts) {
      const leaf = await pki.issue(account);
      // The chain as the control plane gives it: leaf first, root last. The handshakes are then equally long.
      files.push(
        [join(folder, `${account}.crt`), leaf.certPem + pki.rootPem],
        [join(folder, `${account}.key`), leaf.keyPem],
      );
    }
    await Promise.all(files.map(([file, text]) => writeFile(file, text, { mode: 0o600 })));
    controlPlane = await start("control plane", "subjects/control-plane.ts", [
      folder,
      configDir,
      dataDir,
      caDir,
      ...accounts,
    ]);
    const port = controlPlane.ready["port"]!;
    return {
      folder,
      configDir,
      environment: (account) => ({
        TRAMA_CONTROL_PLANE: `127.0.0.1:${port}`,
        TRAMA_ROOT_CERT_FILE: join(folder, "root-cert.pem"),
        TRAMA_TOKEN_FILE: join(folder, `${account}.token`),
        TRAMA_WORKLOAD: account,
        TRAMA_LABELS: `app=${account},version=v1`,
      }),
      async registerBackend(ports) {
        const file = join(configDir, "workloads.yaml");
        await writeFile(`${file}.new`, ports.map((port, index) => workload(port, index % serviceCount)).join("---\n"));
        await rename(`${file}.new`, file);
      },
      close,
    };
  } catch (error) {
    await close();
    throw error;
  }
}

export function hostOf(service: number): string {
  return `svc-${service}.${namespace}.svc.cluster.local`;
}

/** Ten routes a service, tried in order, with what a careful operator writes: time-outs, retries, a header match here and there. */
function services(): string[] {
  return Array.from({ length: serviceCount }, (_, service) => {
    const host = hostOf(service);
    const routes = Array.from({ length: routesEach }, (_, route) => {
      const path = `uri: { prefix: /api/v1/resource-${route}/ }`;
      const guarded = `        - { ${path}, headers: { x-preview: { exact: "yes" } } }\n`;
      return `    - name: resource-${route}
      match:
${route % 3 === 0 ? guarded : ""}        - { ${path} }
      route:
        - destination: { host: ${host} }
      timeout: 30s
      retries: { attempts: 2, perTryTimeout: 10s, retryOn: "connect-failure,refused-stream,reset,503" }
`;
    });
    return `apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: { name: svc-${service}, namespace: ${namespace} }
spec:
  hosts: [${host}]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{ number: 8080, name: http, protocol: HTTP }]
  workloadSelector: { labels: { app: svc-${service} } }
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: { name: svc-${service}, namespace: ${namespace} }
spec:
  host: ${host}
  trafficPolicy:
    loadBalancer: { simple: LEAST_REQUEST }
    tls: { mode: ISTIO_MUTUAL }
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: { name: svc-${service}, namespace: ${namespace} }
spec:
  hosts: [${host}]
  http:
${routes.join("")}`;
  });
}

/** What the measured server enforces: mutual TLS, a DENY policy that does not match, and the ALLOW policy that does. */
function security(): string {
  return `apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: { name: default, namespace: ${namespace} }
spec:
  mtls: { mode: STRICT }
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: { name: nobody-administers, namespace: ${namespace} }
spec:
  selector: { matchLabels: { app: target } }
  action: DENY
  rules:
    - to:
        - operation: { paths: [/admin, /admin/*] }
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: { name: client-reads, namespace: ${namespace} }
spec:
  selector: { matchLabels: { app: target } }
  action: ALLOW
  rules:
    - from:
        - source: { principals: [${spiffeIdOf("client").replace("spiffe://", "")}] }
      to:
        - operation: { methods: [GET, POST], paths: [/api/v1/*] }
`;
}

function workload(port: number, service: number): string {
  return `apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: { name: backend-${port}, namespace: ${namespace} }
spec:
  address: 127.0.0.1
  ports: { http: ${port} }
  serviceAccount: backend
  labels: { app: svc-${service}, version: v1 }
`;
}
