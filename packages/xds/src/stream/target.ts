import { isIP } from "node:net";

/** Where a server is, out of its gRPC target. */
export interface Target {
  readonly dial: { readonly host: string; readonly port: number } | { readonly path: string };
  /** What its certificate must be for, unless the bootstrap says otherwise. */
  readonly host: string;
  /** `:authority` of requests, unless the bootstrap says otherwise. */
  readonly authority: string;
}

/**
 * `host:port`, `dns:host:port`, `dns:///host:port`, `ipv4:address:port`, `ipv6:[address]:port`, `unix:path`, `unix:///path`
 * (https://github.com/grpc/grpc/blob/master/doc/naming.md). Without a port it is 443. `undefined` for anything else: other resolvers,
 * a name server of its own, several addresses.
 */
export function parseTarget(uri: string): Target | undefined {
  const path = /^unix:(?:\/\/(?=\/))?(.+)$/.exec(uri)?.[1];
  if (path !== undefined) return { dial: { path }, host: "localhost", authority: "localhost" };
  const [, scheme, authority] = /^(?:(dns|ipv4|ipv6):(?:\/\/\/|(?!\/)))?([^/\s,@?#]+)$/.exec(uri) ?? [];
  const [, inBrackets, name, digits = "443"] =
    /^(?:\[([^[\]]+)\]|([^:[\]]+))(?::(\d{1,5}))?$/.exec(authority ?? "") ?? [];
  const host = inBrackets ?? name;
  const port = Number(digits);
  if (authority === undefined || host === undefined || port < 1 || port > 65_535) return undefined;
  const version = isIP(host);
  if ((inBrackets !== undefined && version !== 6) || (scheme === "ipv4" && version !== 4)) return undefined;
  if (scheme === "ipv6" && version !== 6) return undefined;
  return { dial: { host, port }, host, authority };
}
