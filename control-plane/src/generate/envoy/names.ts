import { readAuthority } from "../names.ts";

/** The one listener that applications use as their HTTP proxy, and its routes to all services. */
export const outboundName = "outbound";

/** Listener of one port of the workload. */
export function inboundListenerName(address: string, port: number): string {
  return `inbound|${address.includes(":") ? `[${address}]` : address}:${port}`;
}

export function readInboundListenerName(name: string): { readonly address: string; readonly port: number } | undefined {
  if (!name.startsWith("inbound|")) return undefined;
  const authority = readAuthority(name.slice("inbound|".length));
  if (authority === undefined) return undefined;
  return { address: authority.host.replace(/^\[(.*)\]$/, "$1"), port: authority.port };
}

/** The application behind that port, in Istio's form. */
export function inboundClusterName(port: number): string {
  return `inbound|${port}||`;
}

export function readInboundClusterName(name: string): number | undefined {
  const [, port] = /^inbound\|([1-9]\d{0,4})\|\|$/.exec(name) ?? [];
  return port === undefined || Number(port) > 65_535 ? undefined : Number(port);
}
