import { finish } from "@trama/engine";
import type { EndpointConfig, EndpointSet, Locality, LocalityEndpoints, Sliced } from "@trama/engine";
import { typeUrls } from "@trama/proto/lean";

import { AddressSet } from "./address-set.ts";
import { CompactEndpoint, type EndpointTraits, KnownTraits } from "./endpoint-compact.ts";
import { type EndpointMetadata, readMetadata } from "./endpoint-metadata.ts";
import { type AssignmentIndex, indexOf, ReusedLocality, remember } from "./endpoint-reuse.ts";
import { EndpointTexts } from "./endpoint-texts.ts";
import { ResourceError, unsupported, within } from "./error.ts";
import type { Decoded, ResourceType } from "./type.ts";
import { Cursor } from "./wire.ts";

/**
 * ClusterLoadAssignment. Read straight from the wire into the engine's form: an assignment of 10,000 endpoints must not
 * block the event loop, and decoding it into messages first costs many times as much. A test holds this reader against
 * the generated one. Tags are whole: `field << 3 | wire type`.
 */
export const endpointType: ResourceType<EndpointSet> = {
  typeUrl: typeUrls.clusterLoadAssignment,
  decode(bytes, _options, before) {
    const value = endpoints(bytes, undefined, before);
    return { name: value.name, value };
  },
  *slices(bytes, _options, before): Sliced<Decoded<EndpointSet>> {
    const value = yield* readEndpoints(bytes, undefined, before, undefined);
    return { name: value.name, value };
  },
};

interface ReadLocality {
  readonly reading: ReusedLocality;
  locality: Locality;
  weight: number;
  priority: number;
  endpoints: EndpointConfig[];
}

/** What a read is about; `place` is only made into a text when something is wrong there. */
interface State {
  readonly cursor: Cursor;
  readonly localities: ReadLocality[];
  readonly drops: { category: string; perMillion: number }[];
  /**
   * R43: an address is unique in the cluster. By hashes at first, and by the texts where two hashes are the same. Absent where that is found
   * out from what changed.
   */
  readonly addresses: AddressSet | Set<string> | undefined;
  /** Two addresses have one hash. */
  alike: boolean;
  readonly traits: KnownTraits;
  readonly texts: EndpointTexts;
  /** Of the assignment before: what did not change is taken over. */
  readonly before: AssignmentIndex | undefined;
  clusterName: string;
  overprovisioning: number | undefined;
  /** Of the endpoint that is being read. */
  readonly read: Reading;
  /** Index of the endpoint that is being read, in the last locality; -1 outside. */
  endpoint: number;
}

/**
 * Reads and validates by R43. `name` stands in where the assignment names no cluster (inline in a static one). What `before` holds of
 * the same bytes is taken over by identity.
 */
export function endpoints(bytes: Uint8Array, name: string | undefined, before?: EndpointSet): EndpointSet {
  return finish(readEndpoints(bytes, name, before, undefined));
}

/** Endpoints that are read between two yields: some tenths of a millisecond before any of this was optimised. */
const sliceLength = 16;

/** The same in slices, for a caller who lets others run in between. `texts`: where hashes could not tell addresses apart. */
function* readEndpoints(
  bytes: Uint8Array,
  name: string | undefined,
  before: EndpointSet | undefined,
  texts: Set<string> | undefined,
): Sliced<EndpointSet> {
  const known = before === undefined ? undefined : indexOf(before);
  const state: State = {
    cursor: new Cursor(bytes),
    localities: [],
    drops: [],
    addresses: texts ?? (known === undefined ? new AddressSet() : undefined),
    alike: false,
    traits: new KnownTraits(),
    texts: new EndpointTexts(),
    before: known,
    clusterName: "",
    overprovisioning: undefined,
    read: {
      hostStart: 0,
      hostEnd: 0,
      pipe: false,
      port: 0,
      weight: 1,
      health: "healthy",
      tlsMode: "",
      workloadStart: 0,
      workloadEnd: 0,
      hashKey: undefined,
    },
    endpoint: -1,
  };
  try {
    yield* readAssignment(state, bytes.length);
  } catch (error) {
    const locality = state.localities.length - 1;
    if (!(error instanceof ResourceError) || state.endpoint === -1) throw error;
    throw new ResourceError(`endpoints[${locality}].lb_endpoints[${state.endpoint}]: ${error.message}`);
  }
  // Most likely one is there twice: whoever compares texts can say where.
  if (state.alike) return yield* readEndpoints(bytes, name, undefined, new Set());
  state.texts.settle();
  if (state.clusterName === "" && name === undefined) throw new ResourceError("cluster_name is empty");
  const set: EndpointSet = {
    name: state.clusterName || (name ?? ""),
    priorities: byPriority(state.localities),
    drops: state.drops,
    overprovisioningPercent: state.overprovisioning,
  };
  // If an address is there twice, this finds it once more.
  if (texts === undefined && !remember(set, state.localities, state.addresses as AddressSet | undefined, before))
    return yield* readEndpoints(bytes, name, undefined, undefined);
  return set;
}

function* readAssignment(state: State, end: number): Sliced<void> {
  const { cursor } = state;
  while (cursor.pos < end) {
    const tag = cursor.uint32();
    if (tag === 0x0a) state.clusterName = cursor.text(end);
    else if (tag === 0x12) yield* readLocality(state, end);
    else if (tag === 0x22) within("policy", () => readPolicy(state, end));
    else if (tag === 0x2a) unsupported("named_endpoints");
    else cursor.skip(tag, end);
  }
  cursor.leave(end);
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

const nowhere: Locality = { region: "", zone: "", subZone: "" };

function* readLocality(state: State, outer: number): Sliced<void> {
  const { cursor, before } = state;
  const end = cursor.enter(outer);
  const reading = new ReusedLocality(cursor.bytes, cursor.pos, end, before?.localities[state.localities.length]);
  yield* reading.compare();
  const found: ReadLocality = { reading, locality: nowhere, weight: 0, priority: 0, endpoints: [] };
  const place = `endpoints[${state.localities.push(found) - 1}]`;
  while (cursor.pos < end) {
    const start = cursor.pos;
    const behind = reading.take(start);
    if (behind !== 0) {
      cursor.pos = behind;
      continue;
    }
    const tag = cursor.uint32();
    if (tag === 0x12) {
      state.endpoint = reading.count;
      reading.add(readEndpoint(state, end), start, cursor.pos);
      state.endpoint = -1;
      if (reading.added.length % sliceLength === 0) yield undefined;
    } else if (tag === 0x0a) found.locality = readPlace(cursor, end);
    else if (tag === 0x1a) found.weight = cursor.wrappedUint32(end);
    else if (tag === 0x28) found.priority = cursor.uint32();
    else if (tag === 0x3a) unsupported(`${place}.load_balancer_endpoints`);
    else if (tag === 0x42) unsupported(`${place}.leds_cluster_locality_config`);
    else cursor.skip(tag, end); // metadata, proximity
  }
  cursor.leave(end);
  found.endpoints = reading.endpoints();
  yield undefined;
  // Envoy's bound; it also keeps a hostile number from making a list of that length.
  if (found.priority > 128) throw new ResourceError(`${place}.priority ${found.priority} is greater than 128`);
}

function readPlace(cursor: Cursor, outer: number): Locality {
  const end = cursor.enter(outer);
  const found = { region: "", zone: "", subZone: "" };
  while (cursor.pos < end) {
    const tag = cursor.uint32();
    if (tag === 0x0a) found.region = cursor.text(end);
    else if (tag === 0x12) found.zone = cursor.text(end);
    else if (tag === 0x1a) found.subZone = cursor.text(end);
    else cursor.skip(tag, end);
  }
  cursor.leave(end);
  return found;
}

/** By the number of HealthStatus: UNKNOWN and HEALTHY take traffic, DRAINING keeps its sessions, all else is unhealthy (R43). */
const healths: readonly EndpointConfig["health"][] = ["healthy", "healthy", "unhealthy", "draining"];

/** What was read of an endpoint; one object for all of them. */
interface Reading extends EndpointMetadata, EndpointTraits {
  /** Where its host stands, or the path of its socket. */
  hostStart: number;
  hostEnd: number;
  /** A Unix socket: it has no port. */
  pipe: boolean;
  port: number;
  weight: number;
  health: EndpointConfig["health"];
  tlsMode: string;
  hashKey: string | undefined;
}

function readEndpoint(state: State, outer: number): EndpointConfig {
  const { cursor, addresses, traits, texts, read } = state;
  const end = cursor.enter(outer);
  read.tlsMode = "";
  read.hostStart = read.hostEnd = read.port = read.workloadStart = read.workloadEnd = 0;
  read.pipe = false;
  read.hashKey = undefined;
  read.weight = 1;
  let status = 0;
  while (cursor.pos < end) {
    const tag = cursor.uint32();
    if (tag === 0x0a) readHost(cursor, end, read);
    else if (tag === 0x10) status = cursor.uint32();
    else if (tag === 0x1a) readMetadata(cursor, end, read);
    else if (tag === 0x22) read.weight = cursor.wrappedUint32(end);
    else if (tag === 0x2a) unsupported("endpoint_name");
    else cursor.skip(tag, end);
  }
  cursor.leave(end);
  const { port } = read;
  if (read.hostStart === read.hostEnd) throw new ResourceError("the address is empty");
  if (read.pipe ? port !== 0 : port < 1 || port > 65_535)
    throw new ResourceError(`port ${port} is not between 1 and 65535`);
  if (read.weight === 0) throw new ResourceError("load_balancing_weight must be at least 1");
  if (read.pipe) checkPath(read, cursor);
  read.health = healths[status] ?? "unhealthy";
  const { hostStart, hostEnd, workloadStart, workloadEnd } = read;
  const index = texts.add(cursor.bytes, hostStart, hostEnd, port, workloadStart, workloadEnd);
  const found = new CompactEndpoint(traits.of(read), texts, index);
  if (addresses instanceof AddressSet) {
    if (!texts.enter(addresses, index)) state.alike = true;
  } else if (addresses !== undefined) {
    if (addresses.has(found.address)) throw new ResourceError(`address ${found.address} is there twice`);
    addresses.add(found.address);
  }
  return found;
}

/** Endpoint → Address → SocketAddress. */
function readHost(cursor: Cursor, outer: number, into: Reading): void {
  const end = cursor.enter(outer);
  while (cursor.pos < end) {
    const tag = cursor.uint32();
    if (tag === 0x0a) readAddress(cursor, end, into);
    else if (tag === 0x22) unsupported("endpoint.additional_addresses");
    else cursor.skip(tag, end); // health checks, host name
  }
  cursor.leave(end);
}

function readAddress(cursor: Cursor, outer: number, into: Reading): void {
  const end = cursor.enter(outer);
  while (cursor.pos < end) {
    const tag = cursor.uint32();
    if (tag === 0x0a) readSocket(cursor, end, into);
    else if (tag === 0x12) readPipe(cursor, end, into);
    else if (tag === 0x1a) unsupported("endpoint.address.envoy_internal_address");
    else cursor.skip(tag, end);
  }
  cursor.leave(end);
}

function readPipe(cursor: Cursor, outer: number, into: Reading): void {
  const end = cursor.enter(outer);
  into.pipe = true;
  while (cursor.pos < end) {
    const tag = cursor.uint32();
    if (tag === 0x0a) {
      into.hostEnd = cursor.enter(end);
      into.hostStart = cursor.pos;
      cursor.pos = into.hostEnd;
    } else cursor.skip(tag, end); // the mode is for those who listen
  }
  cursor.leave(end);
}

/** What fits into a `sockaddr_un`, so that nobody connects to a path that was cut off. */
const longestPath = 107;

/** A path is its own text, as in Envoy, so that both hash it alike. */
function checkPath({ hostStart, hostEnd }: Reading, cursor: Cursor): void {
  const path = cursor.bytes.toString("utf8", hostStart, hostEnd);
  if (!/^[/@]./.test(path) || path.includes("\0") || hostEnd - hostStart > longestPath)
    throw new ResourceError(
      `pipe.path ${JSON.stringify(path)} is neither an absolute path nor @name, of at most ${longestPath} bytes`,
    );
}

function readSocket(cursor: Cursor, outer: number, into: Reading): void {
  const end = cursor.enter(outer);
  while (cursor.pos < end) {
    const tag = cursor.uint32();
    if (tag === 0x12) {
      into.hostEnd = cursor.enter(end);
      into.hostStart = cursor.pos;
      cursor.pos = into.hostEnd;
    } else if (tag === 0x18) into.port = cursor.uint32();
    else if (tag === 0x08) {
      if (cursor.uint32() !== 0) throw new ResourceError("only TCP is supported");
    } else if (tag === 0x22) unsupported("endpoint.address.socket_address.named_port");
    else cursor.skip(tag, end);
  }
  cursor.leave(end);
}

// ── drops (R49) ──────────────────────────────────────────────────────────────────────────────────────────────────

function readPolicy(state: State, outer: number): void {
  const { cursor, drops } = state;
  const end = cursor.enter(outer);
  while (cursor.pos < end) {
    const tag = cursor.uint32();
    if (tag === 0x12) drops.push(readDrop(cursor, end));
    else if (tag === 0x1a) state.overprovisioning = readOverprovisioning(cursor, end);
    else cursor.skip(tag, end); // staleness is not ours
  }
  cursor.leave(end);
}

function readOverprovisioning(cursor: Cursor, end: number): number {
  const percent = cursor.wrappedUint32(end);
  if (percent === 0) throw new ResourceError("overprovisioning_factor must be greater than zero");
  return percent;
}

function readDrop(cursor: Cursor, outer: number): { category: string; perMillion: number } {
  const end = cursor.enter(outer);
  const drop = { category: "", perMillion: 0 };
  while (cursor.pos < end) {
    const tag = cursor.uint32();
    if (tag === 0x0a) drop.category = cursor.text(end);
    else if (tag === 0x12) drop.perMillion = readFraction(cursor, end);
    else cursor.skip(tag, end);
  }
  cursor.leave(end);
  if (drop.category === "") throw new ResourceError("drop_overloads: category is empty");
  return drop;
}

const denominators: readonly number[] = [100, 10_000, 1_000_000];

function readFraction(cursor: Cursor, outer: number): number {
  const end = cursor.enter(outer);
  let numerator = 0;
  let kind = 0;
  while (cursor.pos < end) {
    const tag = cursor.uint32();
    if (tag === 0x08) numerator = cursor.uint32();
    else if (tag === 0x10) kind = cursor.uint32();
    else cursor.skip(tag, end);
  }
  cursor.leave(end);
  const denominator = denominators[kind];
  if (denominator === undefined) throw new ResourceError(`drop_percentage: denominator ${kind} is not known`);
  return Math.min(1_000_000, (numerator * 1_000_000) / denominator);
}
