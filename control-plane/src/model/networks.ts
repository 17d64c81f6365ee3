import { BlockList, isIP } from "node:net";

/** An L3 domain of the mesh: addresses of one mean nothing in another, but for those of its gateways (Istio's MeshNetworks). */
export interface Network {
  readonly name: string;
  /** Addresses that are in it, as `address/bits`. */
  readonly ranges: readonly string[];
  /** Every endpoint of this control plane is in it that does not say otherwise. */
  readonly registry: boolean;
  readonly gateways: readonly Gateway[];
}

/** The way into a network from all others: passes connections on by their SNI, as Istio's AUTO_PASSTHROUGH does, and ends no TLS. */
export interface Gateway {
  readonly address: string;
  readonly port: number;
}

/** All networks of the mesh. */
export interface Networks {
  readonly names: ReadonlySet<string>;
  /** Of the networks that have any, in order of address and port. */
  readonly gateways: ReadonlyMap<string, readonly Gateway[]>;
  /** In which one an address is that says nothing itself; empty: none is known. */
  find(address: string): string;
}

/** On endpoints and callers: the network they are in. */
export const networkLabel = "topology.istio.io/network";

/** The registry goes before ranges, as in Istio; of ranges the smallest counts. */
export function networks(all: readonly Network[]): Networks {
  const registry = all.find((network) => network.registry)?.name;
  const ranges = all
    .flatMap(({ name, ranges: own }) => own.map((range) => ({ name, ...block(range) })))
    .sort((a, b) => b.bits - a.bits);
  return {
    names: new Set(all.map(({ name }) => name)),
    gateways: new Map(
      all.flatMap(({ name, gateways }) => (gateways.length === 0 ? [] : [[name, gateways.toSorted(compare)] as const])),
    ),
    find(address) {
      if (registry !== undefined) return registry;
      const family = isIP(address) === 6 ? "ipv6" : "ipv4";
      if (ranges.length === 0 || isIP(address) === 0) return "";
      return ranges.find(({ addresses }) => addresses.check(address, family))?.name ?? "";
    },
  };
}

/** Most meshes are in one network, and then nobody speaks of it. */
export const oneNetwork: Networks = networks([]);

/** The same addresses, however they are written. */
export function sameRange(a: string, b: string): boolean {
  const one = block(a);
  return one.bits === block(b).bits && one.addresses.check(addressOf(b), familyOf(b)) && familyOf(a) === familyOf(b);
}

function block(range: string): { readonly addresses: BlockList; readonly bits: number } {
  const bits = Number(range.slice(range.indexOf("/") + 1));
  const addresses = new BlockList();
  addresses.addSubnet(addressOf(range), bits, familyOf(range));
  return { addresses, bits };
}

function addressOf(range: string): string {
  return range.slice(0, range.indexOf("/"));
}

function familyOf(range: string): "ipv4" | "ipv6" {
  return range.includes(":") ? "ipv6" : "ipv4";
}

function compare(a: Gateway, b: Gateway): number {
  return a.address === b.address ? a.port - b.port : a.address < b.address ? -1 : 1;
}
