/** The few objects that most of the tests write. What a test is about, it writes out itself. */

export const domain = "svc.cluster.local";

export interface Entry {
  readonly name: string;
  readonly app: string;
  readonly version: string;
  readonly namespace: string;
  readonly account: string;
  readonly port: number;
  /** Of the service's port. Default `http`. */
  readonly portName?: string;
}

/** `<app>:8080` for callers of the same namespace, found by label. */
export function serviceEntry(app: string, namespace: string): string {
  return `apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: { name: ${app}, namespace: ${namespace} }
spec:
  hosts: [${app}.${namespace}.${domain}]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{ number: 8080, name: http, protocol: HTTP }]
  workloadSelector: { labels: { app: ${app} } }
`;
}

export function workloadEntry(entry: Entry): string {
  return `apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: { name: ${entry.name}, namespace: ${entry.namespace} }
spec:
  address: 127.0.0.1
  ports: { ${entry.portName ?? "http"}: ${entry.port} }
  serviceAccount: ${entry.account}
  labels: { app: ${entry.app}, version: ${entry.version} }
`;
}

export function subsets(app: string, namespace: string, versions: readonly string[]): string {
  return `apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: { name: ${app}, namespace: ${namespace} }
spec:
  host: ${app}.${namespace}.${domain}
  trafficPolicy: { tls: { mode: ISTIO_MUTUAL } }
  subsets:
${versions.map((version) => `    - { name: ${version}, labels: { version: ${version} } }`).join("\n")}
`;
}

export interface RouteExtras {
  /** YAML of `retries`, in flow style. */
  readonly retries?: string;
  readonly timeout?: string;
}

/** A canary: weights by subset. */
export function weights(
  app: string,
  namespace: string,
  shares: Readonly<Record<string, number>>,
  extras: RouteExtras = {},
): string {
  const host = `${app}.${namespace}.${domain}`;
  const destinations = Object.entries(shares).map(
    ([subset, weight]) => `        - destination: { host: ${host}, subset: ${subset} }
          weight: ${weight}`,
  );
  return `apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: { name: ${app}, namespace: ${namespace} }
spec:
  hosts: [${host}]
  http:
    - route:
${destinations.join("\n")}
${extrasOf(extras)}`;
}

/** One destination, with what the test wants to see of retries and time-outs. */
export function route(app: string, namespace: string, extras: RouteExtras): string {
  const host = `${app}.${namespace}.${domain}`;
  return `apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: { name: ${app}, namespace: ${namespace} }
spec:
  hosts: [${host}]
  http:
    - route:
        - destination: { host: ${host} }
${extrasOf(extras)}`;
}

function extrasOf({ retries, timeout }: RouteExtras): string {
  return [
    ...(timeout === undefined ? [] : [`      timeout: ${timeout}\n`]),
    ...(retries === undefined ? [] : [`      retries: ${retries}\n`]),
  ].join("");
}

export function peerAuthentication(namespace: string, mode: "STRICT" | "PERMISSIVE" | "DISABLE"): string {
  return `apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: { name: default, namespace: ${namespace} }
spec:
  mtls: { mode: ${mode} }
`;
}

/** `rules` is YAML of the list, indented by two. */
export function authorization(
  name: string,
  namespace: string,
  app: string,
  action: "ALLOW" | "DENY",
  rules: string,
): string {
  return `apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: { name: ${name}, namespace: ${namespace} }
spec:
  selector: { matchLabels: { app: ${app} } }
  action: ${action}
  rules:
${rules}
`;
}

export function documents(...objects: readonly string[]): string {
  return objects.join("---\n");
}
