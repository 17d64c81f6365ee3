import type { EndpointConfig, EndpointSet, Locality, LocalityEndpoints } from "@trama/engine";
import { typeUrls } from "@trama/proto";
import type { BinaryReader } from "@bufbuild/protobuf/wire";

import { ResourceError, unsupported } from "./error.ts";
import { type EndpointMetadata, readMetadata } from "./endpoint-metadata.ts";
import { fields, newReader, wrappedUint32 } from "./wire.ts";
import type { ResourceType } from "./type.ts";

/**
 * ClusterLoadAssignment. Read straight from the wire into the engine's form: an assignment of 10,000 endpoints must not
 * block the event loop, and decoding it into messages first costs ten times as much. A test holds this reader against the
 * generated one.
 */
export const endpointType: ResourceType<EndpointSet> = {
  typeUrl: typeUrls.clusterLoadAssignment,
  decode(bytes) {
    const value = endpoints(bytes, undefined);
    return { name: value.name, value };
  },
};

interface ReadLocality {
  locality: Locality;
  weight: number;
  priority: number;
  endpoints: EndpointConfig[];
}

/** Reads and validates by R43. `name` stands in where the assignment names no cluster (inline in a static one). */
export function endpoints(bytes: Uint8Array, name: string | undefined): EndpointSet {
  const reader = newReader(bytes);
  const localities: ReadLocality[] = [];
  const drops: { category: string; perMillion: number }[] = [];
  const addresses = new Set<string>();
  let clusterName = "";
  fields(reader, bytes.length, "", (field, end) => {
    switch (field) {
      case 1:
        clusterName = reader.string();
        return;
      case 2:
        localities.push(readLocality(reader, end(), `endpoints[${localities.length}]`, addresses));
        return;
      case 4:
        readPolicy(reader, end(), drops);
        return;
      case 5:
        return unsupported("named_endpoints");
    }
  });
  if (clusterName === "" && name === undefined) throw new ResourceError("cluster_name is empty");
  return { name: clusterName || (name ?? ""), priorities: byPriority(localities), drops };
}

/** Localities without weight are skipped; priorities go from 0 without gap; (locality, priority) and the weights' sum are checked. */
function byPriority(localities: readonly ReadLocality[]): LocalityEndpoints[][] {
  const found = new Map<number, LocalityEndpoints[]>();
  const sums = new Map<number, number>();
  const seen = new Set<string>();
  for (const { locality, weight, priority, endpoints: list } of localities) {
    if (weight === 0) continue;
    const key = JSON.stringify([priority, locality.region, locality.zone, locality.subZone]);
    if (seen.has(key)) throw new ResourceError(`locality ${key} is there twice; put its endpoints together`);
    seen.add(key);
    const sum = (sums.get(priority) ?? 0) + weight;
    if (sum > 0xffff_ffff) throw new ResourceError(`the weights of priority ${priority} add up to more than 2^32-1`);
    sums.set(priority, sum);
    const row = found.get(priority);
    if (row === undefined) found.set(priority, [{ locality, weight, endpoints: list }]);
    else row.push({ locality, weight, endpoints: list });
  }
  return Array.from({ length: found.size }, (_, priority) => {
    const row = found.get(priority);
    if (row === undefined)
      throw new ResourceError(`priority ${priority} is missing; priorities go from 0 without a gap`);
    return row;
  });
}

function readLocality(reader: BinaryReader, end: number, place: string, addresses: Set<string>): ReadLocality {
  const found: ReadLocality = { locality: nowhere, weight: 0, priority: 0, endpoints: [] };
  fields(reader, end, place, (field, inner) => {
    switch (field) {
      case 1:
        found.locality = readPlace(reader, inner());
        return;
      case 2:
        found.endpoints.push(
          readEndpoint(reader, inner(), `${place}.lb_endpoints[${found.endpoints.length}]`, addresses),
        );
        return;
      case 3:
        found.weight = wrappedUint32(reader, inner());
        return;
      case 5:
        found.priority = reader.uint32();
        return;
      case 7:
        return unsupported(`${place}.load_balancer_endpoints`);
      case 8:
        return unsupported(`${place}.leds_cluster_locality_config`);
      default:
        return; // metadata, proximity
    }
  });
  // Envoy's bound; it also keeps a hostile number from making a list of that length.
  if (found.priority > 128) throw new ResourceError(`${place}.priority ${found.priority} is greater than 128`);
  return found;
}

const nowhere: Locality = { region: "", zone: "", subZone: "" };

function readPlace(reader: BinaryReader, end: number): Locality {
  const found = { region: "", zone: "", subZone: "" };
  fields(reader, end, "locality", (field) => {
    if (field === 1) found.region = reader.string();
    else if (field === 2) found.zone = reader.string();
    else if (field === 3) found.subZone = reader.string();
  });
  return found;
}

/** By the number of HealthStatus: UNKNOWN and HEALTHY take traffic, DRAINING keeps its sessions, all else is unhealthy (R43). */
const healths: readonly EndpointConfig["health"][] = ["healthy", "healthy", "unhealthy", "draining"];

const noMetadata: EndpointMetadata = { tlsMode: "", workload: "" };

function readEndpoint(reader: BinaryReader, end: number, place: string, addresses: Set<string>): EndpointConfig {
  let socket: Socket | undefined;
  let status = 0;
  let weight = 1;
  let metadata = noMetadata;
  fields(reader, end, place, (field, inner) => {
    switch (field) {
      case 1:
        socket = readHost(reader, inner(), place);
        return;
      case 2:
        status = reader.int32();
        return;
      case 3:
        metadata = readMetadata(reader, inner());
        return;
      case 4:
        weight = wrappedUint32(reader, inner());
        return;
      case 5:
        return unsupported(`${place}.endpoint_name`);
    }
  });
  if (socket === undefined) throw new ResourceError(`${place}: the endpoint has no address`);
  if (weight === 0) throw new ResourceError(`${place}: load_balancing_weight must be at least 1`);
  const { host, port } = socket;
  const address = host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`;
  if (addresses.has(address)) throw new ResourceError(`${place}: address ${address} is there twice`);
  addresses.add(address);
  return { address, host, port, weight, health: healths[status] ?? "unhealthy", ...metadata };
}

interface Socket {
  readonly host: string;
  readonly port: number;
}

/** Endpoint → Address → SocketAddress. */
function readHost(reader: BinaryReader, end: number, place: string): Socket | undefined {
  let found: Socket | undefined;
  fields(reader, end, place, (field, inner) => {
    if (field === 4) return unsupported(`${place}.endpoint.additional_addresses`);
    if (field !== 1) return;
    fields(reader, inner(), place, (kind, socket) => {
      if (kind === 2) return unsupported(`${place}.endpoint.address.pipe`);
      if (kind === 3) return unsupported(`${place}.endpoint.address.envoy_internal_address`);
      if (kind !== 1) return;
      found = readSocket(reader, socket(), place);
    });
  });
  return found;
}

function readSocket(reader: BinaryReader, end: number, place: string): Socket {
  let host = "";
  let port = 0;
  fields(reader, end, place, (field) => {
    if (field === 1) {
      if (reader.int32() !== 0) throw new ResourceError(`${place}: only TCP is supported`);
    } else if (field === 2) host = reader.string();
    else if (field === 3) port = reader.uint32();
    else if (field === 4) return unsupported(`${place}.endpoint.address.socket_address.named_port`);
  });
  if (host === "") throw new ResourceError(`${place}: the address is empty`);
  if (port < 1 || port > 65_535) throw new ResourceError(`${place}: port ${port} is not between 1 and 65535`);
  return { host, port };
}

// ── drops (R49) ──────────────────────────────────────────────────────────────────────────────────────────────────

function readPolicy(reader: BinaryReader, end: number, drops: { category: string; perMillion: number }[]): void {
  fields(reader, end, "policy", (field, inner) => {
    if (field !== 2) return; // overprovisioning is not ours (S42), staleness not either
    const drop = { category: "", perMillion: 0 };
    fields(reader, inner(), "policy.drop_overloads", (part, fraction) => {
      if (part === 1) drop.category = reader.string();
      else if (part === 2) drop.perMillion = readFraction(reader, fraction());
    });
    if (drop.category === "") throw new ResourceError("policy.drop_overloads: category is empty");
    drops.push(drop);
  });
}

const denominators: readonly number[] = [100, 10_000, 1_000_000];

function readFraction(reader: BinaryReader, end: number): number {
  let numerator = 0;
  let kind = 0;
  fields(reader, end, "drop_percentage", (field) => {
    if (field === 1) numerator = reader.uint32();
    else if (field === 2) kind = reader.int32();
  });
  const denominator = denominators[kind];
  if (denominator === undefined) throw new ResourceError(`drop_percentage: denominator ${kind} is not known`);
  return Math.min(1_000_000, (numerator * 1_000_000) / denominator);
}
