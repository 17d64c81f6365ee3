/** Where the two versions of the service `echo` are. */
export interface EchoPlaces {
  readonly v1: { readonly address: string; readonly port: number };
  readonly v2: { readonly address: string; readonly port: number };
  /** Share of v1, of 100. */
  readonly weight: number;
  /** Account that the servers are said to run as. */
  readonly account?: string;
  readonly protocol?: "GRPC" | "HTTP";
}

/** The service's own name and port, as callers write it. */
export const echoHost = "echo.demo.svc.cluster.local";
export const echoPort = 7_070;

/** One service in several languages, and nothing but who may call what. */
export function mixedYaml(
  places: readonly { readonly name: string; readonly address: string; readonly port: number }[],
): string {
  const entries = places.map(({ name, ...place }) => server(name, place, "GRPC", `language: ${name}`));
  return `${service("GRPC")}${entries.join("")}${access}`;
}

function service(protocol: "GRPC" | "HTTP"): string {
  const name = protocol.toLowerCase();
  return `apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: { name: echo, namespace: demo }
spec:
  hosts: [${echoHost}]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{ number: ${echoPort}, name: ${name}, protocol: ${protocol} }]
  workloadSelector: { labels: { app: echo } }
`;
}

/** Where calls go by the places of callers and servers alone. */
export interface NearPlaces {
  /** Of `echo`, each with its locality. */
  readonly servers: readonly {
    readonly version: string;
    readonly address: string;
    readonly port: number;
    readonly locality: string;
  }[];
  /** Endpoints of the callers' own service, which nobody calls. */
  readonly callers: readonly { readonly address: string; readonly locality: string }[];
  /** The `trafficPolicy` of `echo`. */
  readonly traffic: string;
}

export function nearYaml({ servers, callers, traffic }: NearPlaces): string {
  const entries = servers.map(({ version, locality, ...place }) =>
    server(version, place, "HTTP", `version: ${version}`, { locality }),
  );
  const own = callers.map(({ address, locality }) => `    - { address: ${address}, locality: ${locality} }\n`);
  return `${service("HTTP")}${entries.join("")}---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: { name: callers, namespace: demo }
spec:
  hosts: [callers.demo.svc.cluster.local]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{ number: 80, name: http, protocol: HTTP }]
  endpoints:
${own.join("")}---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: { name: echo, namespace: demo }
spec:
  host: ${echoHost}
  trafficPolicy: ${traffic}
${access}`;
}

/** One server of `echo`; `label` is the one that it has besides. */
function server(
  name: string,
  { address, port }: EchoPlaces["v1"],
  protocol: "GRPC" | "HTTP",
  label: string,
  more: { readonly account?: string; readonly locality?: string } = {},
): string {
  return `---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: { name: echo-${name}, namespace: demo }
spec:
  address: ${address}
  ports: { ${protocol.toLowerCase()}: ${port} }
  serviceAccount: ${more.account ?? "echo"}
${more.locality === undefined ? "" : `  locality: ${more.locality}\n`}  labels: { app: echo, ${label} }
`;
}

/** Mutual TLS for everybody, and one method for one caller. */
const access = `---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: { name: default, namespace: demo }
spec: { mtls: { mode: STRICT } }
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: { name: echo, namespace: demo }
spec:
  selector: { matchLabels: { app: echo } }
  rules:
    - from: [{ source: { principals: [cluster.local/ns/demo/sa/caller] } }]
      to: [{ operation: { paths: [/demo.Echo/Say] } }]
`;

/**
 * One policy for all languages: a canary, mutual TLS for everybody, and one method for one caller. A key for consistent hashing, so that
 * each of them reads the balancer that comes of it.
 */
export function echoYaml({ v1, v2, weight, account = "echo", protocol = "GRPC" }: EchoPlaces): string {
  const entry = (version: string, place: EchoPlaces["v1"]): string =>
    server(version, place, protocol, `version: ${version}`, { account });
  return `${service(protocol)}${entry("v1", v1)}${entry("v2", v2)}---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: { name: echo, namespace: demo }
spec:
  host: ${echoHost}
  trafficPolicy: { loadBalancer: { consistentHash: { httpHeaderName: user } } }
  subsets: [{ name: v1, labels: { version: v1 } }, { name: v2, labels: { version: v2 } }]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: { name: echo, namespace: demo }
spec:
  hosts: [${echoHost}]
  http:
    - route:
        - { destination: { host: ${echoHost}, subset: v1 }, weight: ${weight} }
        - { destination: { host: ${echoHost}, subset: v2 }, weight: ${100 - weight} }
${access}`;
}
