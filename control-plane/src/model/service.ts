import type { Visibility } from "./visibility.ts";

/** What callers know of a service; its endpoints are kept apart, because they change more often. */
export interface Service {
  /** Full, lower case. */
  readonly host: string;
  /** First part of a host of the platform, else the whole host. */
  readonly name: string;
  readonly namespace: string;
  readonly ports: readonly ServicePort[];
  readonly resolution: Resolution;
  /** Inside the mesh: mutual TLS and policy apply. */
  readonly internal: boolean;
  readonly visible: Visibility;
  /** Accepted in server certificates besides the accounts of the endpoints. */
  readonly subjectAltNames: readonly string[];
}

/**
 * Where calls go.
 * - `static`: to the addresses of the endpoints.
 * - `dns`: to all addresses that the names of the endpoints have.
 * - `name`: each connection to what the one name means at that time.
 */
export type Resolution = "static" | "dns" | "name";

export interface ServicePort {
  readonly number: number;
  readonly name: string;
  readonly protocol: PortProtocol;
  readonly targetPort: number;
}

/**
 * What a port is called by.
 * - `http`, `http2`: by requests, which the mesh leads one by one. gRPC is HTTP/2.
 * - `https`: by requests, to a server outside of the mesh that speaks TLS of its own. The mesh speaks it with the server, unless rules say
 *   that the application does: see `isOpaque`.
 * - `tls`: by connections of the application's own TLS, led by the server name that it asks for.
 * - `tcp`: by connections of which nothing is known but where they go.
 */
export type PortProtocol = "http" | "http2" | "https" | "tls" | "tcp";

/** A workload behind a service. */
export interface Endpoint {
  /**
   * An IP address, a name where the service is resolved by DNS, or the path of a Unix socket (`isPipe`). Empty: nobody knows it but the
   * gateways of its network.
   */
  readonly address: string;
  /** Overrides by name of the service's port. */
  readonly ports: Readonly<Record<string, number>>;
  readonly labels: Readonly<Record<string, string>>;
  readonly namespace: string;
  readonly locality: Locality;
  /** L3 domain that the address is in; empty: none is known, and everybody reaches it. It is among the labels, too. */
  readonly network: string;
  /** Stands for workloads of its network, all of which take the mesh's TLS: it passes on nothing else. */
  readonly gateway: boolean;
  readonly weight: number;
  readonly serviceAccount: string | undefined;
  /** Takes part in the mesh, as far as it says itself; its PeerAuthentication may still say DISABLE. */
  readonly mesh: boolean;
  /** `<workload>;<namespace>;<canonical service>;<revision>;<cluster>;<app>;<version>`. */
  readonly workload: string;
}

/** A host that stands for itself: its name is all that is known of it. */
export function itself({ host, namespace }: Pick<Service, "host" | "namespace">): Endpoint {
  return {
    address: host,
    ports: {},
    labels: {},
    namespace,
    locality: { region: "", zone: "", subZone: "" },
    network: "",
    gateway: false,
    weight: 1,
    serviceAccount: undefined,
    mesh: false,
    workload: "",
  };
}

/** Where a call goes that names the host and the port and is led nowhere else. */
export function asCalled(service: Pick<Service, "host" | "namespace">, port: ServicePort): Endpoint {
  return { ...itself(service), ports: { [port.name]: port.number } };
}

export interface Locality {
  readonly region: string;
  readonly zone: string;
  readonly subZone: string;
}

/** Order: the workload's own map, the service's targetPort, the port's number (istio-api §5). */
export function endpointPort(endpoint: Endpoint, port: ServicePort): number {
  return (Object.hasOwn(endpoint.ports, port.name) ? endpoint.ports[port.name] : undefined) ?? port.targetPort;
}

/** A Unix socket, by its path or, behind an `@`, by a name in no file system: it has no port. */
export function isPipe(address: string): boolean {
  return address.startsWith("/") || address.startsWith("@");
}

/** `ip:port`, IPv6 in brackets. */
export function socketAddress(address: string, port: number): string {
  return address.includes(":") ? `[${address}]:${port}` : `${address}:${port}`;
}

/** All of the labels are there, with these values; none asked for is always true. */
export function hasLabels(labels: Readonly<Record<string, string>>, wanted: Readonly<Record<string, string>>): boolean {
  return Object.entries(wanted).every(([key, value]) => Object.hasOwn(labels, key) && labels[key] === value);
}

/** Equal for the same labels, in whatever order they were written. */
export function labelsKey(labels: Readonly<Record<string, string>>): string {
  return JSON.stringify(Object.entries(labels).sort(([a], [b]) => (a < b ? -1 : 1)));
}
