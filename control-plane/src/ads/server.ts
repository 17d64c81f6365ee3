import { type ServerDuplexStream, status } from "@grpc/grpc-js";
import type {
  DeltaDiscoveryRequest,
  DeltaDiscoveryResponse,
  DiscoveryRequest,
  DiscoveryResponse,
} from "@trama/proto/envoy/service/discovery/v3/discovery_pb.js";

import { AuthError } from "../auth/auth-error.ts";
import { type Identity, spiffeId } from "../auth/identity.ts";
import { bucket } from "../bucket.ts";
import { type Clock, delay } from "../clock.ts";
import type { Snapshot, SnapshotSource } from "../snapshot.ts";
import type { ClientStatus } from "../status.ts";
import { type AnyRequest, delta, type Dialect, sotw } from "./dialect.ts";
import { type AdsLimits, StreamFault } from "./limits.ts";
import type { AdsCall } from "./plaintext.ts";
import { Session } from "./session.ts";
import type { SessionEvents } from "./session-env.ts";

/** What the server tells of its work, besides what each session does. */
export interface AdsEvents extends SessionEvents {
  refused(peer: string, code: status, why: string): void;
  /** A snapshot was published to all sessions; how long that took. */
  published(ms: number): void;
}

/** The connection below a stream, as far as it matters here. */
export interface Connections {
  /** When the connection was accepted. */
  acceptedAt(peer: string): number | undefined;
  /** Drops it at once. */
  cut(peer: string): void;
}

export interface AdsServerOptions {
  readonly source: Pick<SnapshotSource, "current" | "subscribe">;
  /** Resolves to who calls, or rejects with an AuthError or a StreamFault. */
  readonly authenticate: (call: AdsCall) => Promise<Identity>;
  readonly connections: Connections;
  readonly clock: Clock;
  readonly random: () => number;
  readonly limits: AdsLimits;
  readonly identifier: string;
  readonly events: AdsEvents;
}

export interface AdsServer {
  /** The two methods of `AggregatedDiscoveryService`, for grpc-js's `addService`. */
  readonly service: {
    StreamAggregatedResources(call: ServerDuplexStream<DiscoveryRequest, DiscoveryResponse>): void;
    DeltaAggregatedResources(call: ServerDuplexStream<DeltaDiscoveryRequest, DeltaDiscoveryResponse>): void;
  };
  /** Those who have named their node. */
  clients(): ClientStatus[];
  /** S28: no new streams; those that are open end one by one over the grace. */
  close(graceMs: number): Promise<void>;
}

/** How long one turn of pushing may keep the event loop: requests, ACKs and certificates get theirs in between. */
const SLICE_MS = 10;

interface OpenStream {
  readonly session: Pick<Session<never, never>, "node" | "channels" | "quiet" | "onSnapshot" | "end" | "close">;
  readonly identity: Identity;
  readonly protocol: "delta" | "sotw";
  readonly peer: string;
  readonly connectedAt: number;
}

/** Lets streams in, gives each a session, wakes the sessions when the configuration changes, and ends them. */
export function adsServer(options: AdsServerOptions): AdsServer {
  const { source, clock, limits, events, connections } = options;
  const streams = new Set<OpenStream>();
  const perIdentity = new Map<string, number>();
  // S29: a storm of reconnects leaves time for pushes.
  const permit = bucket(clock, limits.acceptRate, limits.acceptBurst);
  let opening = 0;
  let closing = false;

  const unsubscribe = source.subscribe(publisher(streams, clock, events));

  /** S29, S30: the cheap checks, before a signature is verified for this stream. */
  const checkRoom = (): void => {
    if (closing) throw new StreamFault(status.UNAVAILABLE, "the control plane is shutting down");
    if (streams.size + opening >= limits.maxStreams)
      throw new StreamFault(status.RESOURCE_EXHAUSTED, `${limits.maxStreams} streams are open: try another replica`);
    if (!permit()) throw new StreamFault(status.RESOURCE_EXHAUSTED, "too many streams are being opened: back off");
  };

  const checkIdentityRoom = (id: string): void => {
    if (closing) throw new StreamFault(status.UNAVAILABLE, "the control plane is shutting down");
    if ((perIdentity.get(id) ?? 0) >= limits.maxStreamsPerIdentity)
      throw new StreamFault(status.RESOURCE_EXHAUSTED, `${limits.maxStreamsPerIdentity} streams are open for ${id}`);
  };

  async function open<Req extends AnyRequest, Res>(
    dialect: Dialect<Req, Res>,
    call: ServerDuplexStream<Req, Res>,
  ): Promise<void> {
    const peer = call.getPeer();
    let gone = false;
    call.once("cancelled", () => (gone = true));
    opening += 1;
    let identity: Identity;
    try {
      checkRoom();
      identity = await options.authenticate(call);
      checkIdentityRoom(spiffeId(identity));
    } catch (error) {
      const { code, message } = refusal(error);
      events.refused(peer, code, message);
      endCall(call, code, message);
      return;
    } finally {
      opening -= 1;
    }
    if (gone) return;
    const wire = {
      send: (response: Res, taken: () => void): void => void call.write(response, taken),
      end: (code: status, message: string): void => {
        leave();
        endCall(call, code, message);
      },
      cut: (): void => {
        leave();
        connections.cut(peer);
      },
    };
    const session = new Session(dialect, identity, wire, { ...options, current: () => source.current });
    const stream: OpenStream = { session, identity, protocol: dialect.name, peer, connectedAt: clock.now() };
    const cancelAge = endWhenOld(stream, options);
    const id = spiffeId(identity);
    streams.add(stream);
    perIdentity.set(id, (perIdentity.get(id) ?? 0) + 1);
    const leave = (): void => {
      if (!streams.delete(stream)) return;
      cancelAge();
      session.close();
      const left = (perIdentity.get(id) ?? 1) - 1;
      if (left > 0) perIdentity.set(id, left);
      else perIdentity.delete(id);
    };
    call.once("cancelled", leave);
    call.once("close", leave);
    call.on("error", leave);
    // The client has said all it wanted: so have we.
    call.once("end", () => session.end(status.OK, ""));
    call.on("data", (request: Req) => session.onRequest(request));
    // Who asked may have been looked for in the first request.
    call.resume();
  }

  return {
    service: {
      StreamAggregatedResources: (call) => void open(sotw, call),
      DeltaAggregatedResources: (call) => void open(delta, call),
    },
    clients: () => [...streams].flatMap(clientStatus),
    async close(graceMs) {
      closing = true;
      unsubscribe();
      const all = [...streams];
      await Promise.all(
        all.map(async ({ session }, index) => {
          await delay(clock, (graceMs * index) / all.length);
          session.end(status.UNAVAILABLE, "the control plane is shutting down");
        }),
      );
    },
  };
}

/**
 * S24: wakes all sessions for a snapshot, a slice at a time. When a newer one comes in the midst of it, those that were
 * woken already queue again behind those that still wait: sessions read the newest anyway (S23), and nobody starves.
 */
function publisher(streams: ReadonlySet<OpenStream>, clock: Clock, events: AdsEvents): (snapshot: Snapshot) => void {
  const waiting = new Set<OpenStream>();
  let publishedAt = 0;
  let running = false;
  const slice = (): void => {
    const start = performance.now();
    for (const next of waiting) {
      if (performance.now() - start >= SLICE_MS) {
        setImmediate(slice);
        return;
      }
      waiting.delete(next);
      if (streams.has(next)) next.session.onSnapshot(publishedAt);
    }
    running = false;
    events.published(clock.now() - publishedAt);
  };
  return () => {
    publishedAt = clock.now();
    for (const stream of streams) waiting.add(stream);
    if (running) return;
    running = true;
    slice();
  };
}

/**
 * S27: grpc-js sends the GOAWAY when the connection is of that age, ± 10 %; the stream itself, which would keep the old
 * connection, ends between pushes some time after that, so that it comes back on a new one.
 */
function endWhenOld(stream: OpenStream, { clock, limits, random, connections }: AdsServerOptions): () => void {
  const age = clock.now() - (connections.acceptedAt(stream.peer) ?? clock.now());
  const endAt = limits.maxConnectionAgeMs * (1.1 + 0.1 * random());
  let cancel = clock.after(Math.max(0, endAt - age), check);
  let tries = 0;
  function check(): void {
    tries += 1;
    // A client that never answers is not waited for.
    if (stream.session.quiet || tries > 50) stream.session.end(status.OK, "");
    else cancel = clock.after(100, check);
  }
  return () => cancel();
}

function refusal(error: unknown): { code: status; message: string } {
  if (error instanceof AuthError || error instanceof StreamFault) return { code: error.code, message: error.message };
  return { code: status.INTERNAL, message: "the caller could not be authenticated" };
}

interface Endable {
  readonly cancelled: boolean;
  readonly destroyed: boolean;
  end(): unknown;
  emit(event: "error", fault: { readonly code: status; readonly details: string }): boolean;
}

function endCall(call: Endable, code: status, message: string): void {
  if (call.cancelled || call.destroyed) return;
  if (code === status.OK) call.end();
  // The way in which grpc-js takes a status for a stream. Lone surrogates would break its percent-encoding.
  else call.emit("error", { code, details: message.toWellFormed() });
}

function clientStatus({ session, identity, protocol, peer, connectedAt }: OpenStream): ClientStatus[] {
  const { node } = session;
  if (node === undefined) return [];
  return [
    {
      nodeId: node.id,
      identity: spiffeId(identity),
      namespace: node.namespace,
      workload: node.workload,
      kind: node.kind,
      protocol,
      peer,
      connectedAt: new Date(connectedAt).toISOString(),
      types: Object.fromEntries([...session.channels].map((each) => [each.typeUrl, { ...each.status }])),
    },
  ];
}
