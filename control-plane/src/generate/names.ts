import { type MeshSettings, platformHost } from "../model/mesh.ts";
import type { Service } from "../model/service.ts";

/** Names of resources, as docs/wire.md has them. */
export interface ClusterName {
  readonly port: number;
  /** Empty: the whole service. */
  readonly subset: string;
  readonly host: string;
}

/** `outbound|<port>|<subset>|<host>`: cluster, its endpoints, and without a subset also the route configuration. */
export function clusterName({ port, subset, host }: ClusterName): string {
  return `outbound|${port}|${subset}|${host}`;
}

export function readClusterName(name: string): ClusterName | undefined {
  const [direction, port = "", subset = "", host = "", ...rest] = name.split("|");
  if (direction !== "outbound" || rest.length > 0 || host === "" || !isPort(port)) return undefined;
  return { port: Number(port), subset, host };
}

/** The SNI of a cluster: its name without the characters that TLS does not allow. */
export function serverName({ port, subset, host }: ClusterName): string {
  return `outbound_.${port}_.${subset}_.${host}`;
}

/** `<host>:<port>` as an application wrote it; a trailing dot and upper case mean nothing in host names. */
export function readAuthority(name: string): { readonly host: string; readonly port: number } | undefined {
  const colon = name.lastIndexOf(":");
  const port = name.slice(colon + 1);
  const host = name.slice(0, Math.max(colon, 0)).toLowerCase().replace(/\.$/, "");
  return host === "" || !isPort(port) ? undefined : { host, port: Number(port) };
}

function isPort(text: string): boolean {
  return /^[1-9]\d{0,4}$/.test(text) && Number(text) <= 65_535;
}

/**
 * The full hosts that a written host can mean to a caller, the likeliest first: a bare name is one of the caller's own
 * namespace, everything else is taken as it is before it is completed (I16).
 */
export function fullNames(mesh: MeshSettings, written: string, namespace: string): readonly string[] {
  const parts = written.split(".").length;
  if (parts === 1) return [`${written}.${namespace}.svc.${mesh.domain}`];
  const completed =
    parts === 2
      ? [`${written}.svc.${mesh.domain}`]
      : parts === 3 && written.endsWith(".svc")
        ? [`${written}.${mesh.domain}`]
        : [];
  return [written, ...completed];
}

/** The other way round: every spelling that leads a caller to this service, the full one first. */
export function spellings(mesh: MeshSettings, { host }: Service, namespace: string): readonly string[] {
  const platform = platformHost(mesh, host);
  if (platform === undefined) return [host];
  const { name } = platform;
  const bare = platform.namespace === namespace ? [name] : [];
  return [host, `${name}.${platform.namespace}.svc`, `${name}.${platform.namespace}`, ...bare];
}

const inboundPrefix = "xds.istio.io/grpc/lds/inbound/";

/** `xds.istio.io/grpc/lds/inbound/<ip>:<port>`, IPv6 in brackets. */
export function readInboundName(name: string): { readonly address: string; readonly port: number } | undefined {
  if (!name.startsWith(inboundPrefix)) return undefined;
  const authority = readAuthority(name.slice(inboundPrefix.length));
  if (authority === undefined) return undefined;
  const bracketed = /^\[(.*)\]$/.exec(authority.host)?.[1];
  return { address: bracketed ?? authority.host, port: authority.port };
}
