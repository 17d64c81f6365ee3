import { execFile } from "node:child_process";
import { rmSync } from "node:fs";
import { mkdir, mkdtemp, rename, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
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
  /** What gRPC's own xDS client needs to join as that service account; the bootstrap file is written by the command that users run. */
  xdsEnvironment(account: Account): Promise<Readonly<Record<string, string>>>;
  /** Gives these ports of the loopback interface to the gRPC service. */
  registerRatings(ports: readonly number[]): Promise<void>;
  /** Gives these ports of the loopback interface to the HTTP/2 service. */
  registerHttp2(ports: readonly number[]): Promise<void>;
  /** Gives these ports of the loopback interface to the services, the same number to each. */
  registerBackend(ports: readonly number[]): Promise<void>;
  /** A service of 10,000 endpoints (turn 0), of which one more moves to another address with each turn. Nobody listens there. */
  registerBig(turn: number): Promise<void>;
  /** What the control plane has used of the processors so far, all its threads together. */
  controlPlaneCpuMs(): Promise<number>;
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
    const { port = 0, plaintextPort = 0 } = controlPlane.ready;
    const writeYaml = async (name: string, text: string): Promise<void> => {
      const file = join(configDir, name);
      await writeFile(`${file}.new`, text);
      await rename(`${file}.new`, file);
    };
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
        const entries = ports.map((each, index) => workload("http", each, `svc-${index % serviceCount}`));
        await writeYaml("workloads.yaml", entries.join("---\n"));
      },
      async registerRatings(ports) {
        const entries = ports.map((each) => workload("grpc", each, "ratings"));
        await writeYaml("ratings.yaml", [ratings(), ...entries].join("---\n"));
      },
      async registerHttp2(ports) {
        const entries = ports.map((each) => workload("http", each, "h2"));
        await writeYaml("h2.yaml", [http2Service(), ...entries].join("---\n"));
      },
      async registerBig(turn) {
        if (turn > 0) return writeYaml("big-0.yaml", bigPart(0, turn));
        const { configurations: before } = await controlPlane!.figures("now");
        const files: [string, string][] = [["big.yaml", big()]];
        for (let from = 0; from < bigCount; from += bigFileCount) files.push([`big-${from}.yaml`, bigPart(from, 0)]);
        // All at once, so that they are read once.
        for (const [name, text] of files) await writeFile(join(configDir, `${name}.new`), text);
        for (const [name] of files) await rename(join(configDir, `${name}.new`), join(configDir, name));
        // While the control plane reads them it answers nobody; three seconds without news mean that it is done.
        let found = before;
        for (let quiet = 0; quiet < 15 || found === before;) {
          await new Promise((resolve) => setTimeout(resolve, 200));
          const { configurations: now } = await controlPlane!.figures("now");
          quiet = now === found ? quiet + 1 : 0;
          found = now;
        }
      },
      controlPlaneCpuMs: async () => (await controlPlane!.figures("now"))["cpuMs"]!,
      async xdsEnvironment(account) {
        const out = join(folder, `${account}-xds`);
        const who = [
          "--namespace",
          namespace,
          "--service-account",
          account,
          "--plaintext",
          `127.0.0.1:${plaintextPort}`,
        ];
        const proof = ["--data", dataDir, "--root", join(folder, "root-cert.pem"), "--server", `127.0.0.1:${port}`];
        await promisify(execFile)(process.execPath, [controlPlaneProgram, "bootstrap", "--out", out, ...who, ...proof]);
        return { GRPC_XDS_BOOTSTRAP: join(out, "bootstrap.json") };
      },
      close,
    };
  } catch (error) {
    await close();
    throw error;
  }
}

const controlPlaneProgram = fileURLToPath(new URL("../../control-plane/dist/main.js", import.meta.url));

/** The gRPC service, as callers write it. */
export const ratingsHost = `ratings.${namespace}.svc.cluster.local:9000`;

/** A service that is called over HTTP/2. */
export const http2Host = `h2.${namespace}.svc.cluster.local`;

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

const bigCount = 10_000;
const bigFileCount = 1_000;

export const bigHost = `big.${namespace}.svc.cluster.local`;

function big(): string {
  return `apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: { name: big, namespace: ${namespace} }
spec:
  hosts: [${bigHost}]
  location: MESH_INTERNAL
  resolution: STATIC
  ports:
    - { number: 8080, name: http, protocol: HTTP }
    - { number: 9000, name: grpc, protocol: GRPC }
  workloadSelector: { labels: { app: big } }
`;
}

/** The endpoints of one file; those below `turn` have moved to another address. */
function bigPart(from: number, turn: number): string {
  const entries = Array.from({ length: bigFileCount }, (_, at) => {
    const index = from + at;
    return `apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: { name: big-${index}, namespace: ${namespace} }
spec:
  address: 127.${index < turn ? 2 : 1}.${index >> 8}.${index & 255}
  ports: { http: 9, grpc: 9 }
  serviceAccount: backend
  labels: { app: big, version: v1 }
`;
  });
  return entries.join("---\n");
}

function http2Service(): string {
  return `apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: { name: h2, namespace: ${namespace} }
spec:
  hosts: [${http2Host}]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{ number: 8080, name: http, protocol: HTTP2 }]
  workloadSelector: { labels: { app: h2 } }
`;
}

/** A gRPC service of ten routes; the methods that are called are those of the last but one. */
function ratings(): string {
  const host = ratingsHost.slice(0, ratingsHost.indexOf(":"));
  const routes = Array.from({ length: routesEach }, (_, route) => {
    const match = route === routesEach - 2 ? "prefix: /bench.Ratings/" : `exact: /bench.Ratings-${route}/Get`;
    return `    - name: route-${route}
      match: [{ uri: { ${match} } }]
      route:
        - destination: { host: ${host} }
      timeout: 30s
      retries: { attempts: 2, perTryTimeout: 10s, retryOn: "connect-failure,refused-stream,unavailable" }
`;
  });
  return `apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: { name: ratings, namespace: ${namespace} }
spec:
  hosts: [${host}]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{ number: 9000, name: grpc, protocol: GRPC }]
  workloadSelector: { labels: { app: ratings } }
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: { name: ratings, namespace: ${namespace} }
spec:
  hosts: [${host}]
  http:
${routes.join("")}`;
}

function workload(protocol: "http" | "grpc", port: number, app: string): string {
  return `apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: { name: ${app}-${port}, namespace: ${namespace} }
spec:
  address: 127.0.0.1
  ports: { ${protocol}: ${port} }
  serviceAccount: backend
  labels: { app: ${app}, version: v1 }
`;
}
