/** Where a client wants to go, as it wrote it and as the mesh names it. */
export interface Target {
  /** As the application wrote it. */
  readonly text: string;
  /** Name of the outbound listener: `host:port`, lower case. Empty: an address that no mesh can know, such as a socket file. */
  readonly listener: string;
  /** `:authority` unless the application overrides it. */
  readonly authority: string;
  /** Only a mesh can resolve it (`xds:`): it cannot go past one. */
  readonly meshOnly: boolean;
  /** A sidecar does not see loopback traffic either. */
  readonly loopback: boolean;
}

/** gRPC's own default (gRPC naming, "dns"). */
const defaultPort = "443";

/** Reads a target as gRPC's naming has it: `host:port`, `dns:///host:port`, `dns://server/host:port`, `xds:///host:port`, `ipv4:…`, `ipv6:…`. */
export function parseTarget(text: string): Target {
  const scheme = /^(dns|xds|ipv4|ipv6|unix|unix-abstract|vsock|passthrough):/i.exec(text)?.[1]?.toLowerCase();
  const rest = scheme === undefined ? text : text.slice(scheme.length + 1);
  const path = rest.startsWith("//") ? rest.slice(rest.indexOf("/", 2) + 1) : rest;
  const meshOnly = scheme === "xds";
  const host = scheme?.startsWith("unix") || scheme === "vsock" ? undefined : hostPort(path);
  if (host === undefined) return { text, listener: "", authority: "localhost", meshOnly, loopback: true };
  const listener = `${host.name}:${host.port}`;
  return { text, listener, authority: listener, meshOnly, loopback: isLoopback(host.name) };
}

/** `undefined` for what is no single host, such as a list of addresses. */
function hostPort(path: string): { readonly name: string; readonly port: string } | undefined {
  const match = /^(\[[0-9a-f:.%]+\]|[^:,/\s[\]]*[^.:,/\s[\]]\.?)(?::(\d{1,5}))?$/i.exec(path);
  if (match !== null) return { name: match[1]!.toLowerCase().replace(/\.$/, ""), port: match[2] ?? defaultPort };
  // An IPv6 address alone, without brackets and port.
  return /^[0-9a-f:]+:[0-9a-f:.]*$/i.test(path) && path.split(":").length > 2
    ? { name: `[${path.toLowerCase()}]`, port: defaultPort }
    : undefined;
}

function isLoopback(name: string): boolean {
  return name === "localhost" || name.endsWith(".localhost") || name === "[::1]" || /^127(?:\.\d{1,3}){3}$/.test(name);
}
