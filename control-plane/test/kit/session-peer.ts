import { type DescMessage, type MessageInitShape, create } from "@bufbuild/protobuf";
import type { status } from "@grpc/grpc-js";
import {
  type DeltaDiscoveryRequest,
  DeltaDiscoveryRequestSchema,
  type DeltaDiscoveryResponse,
  type DiscoveryRequest,
  DiscoveryRequestSchema,
  type DiscoveryResponse,
} from "@trama/proto/envoy/service/discovery/v3/discovery_pb.js";
import { vi } from "vitest";

import { type AnyRequest, delta, type Dialect, sotw } from "../../src/ads/dialect.ts";
import { type AdsLimits, defaultLimits } from "../../src/ads/limits.ts";
import { Session } from "../../src/ads/session.ts";
import type { SessionEvents } from "../../src/ads/session-env.ts";
import type { Identity } from "../../src/auth/identity.ts";
import type { SnapshotSource } from "../../src/snapshot.ts";
import type { FakeClock } from "./fake-clock.ts";

export interface PeerOptions {
  readonly source: SnapshotSource;
  readonly clock: FakeClock;
  readonly limits?: Partial<AdsLimits>;
  readonly identity?: Partial<Identity>;
  /** False: the client takes nothing off the wire. */
  readonly reads?: boolean;
}

export interface Peer<Init, Res> {
  readonly session: Pick<Session<never, never>, "onSnapshot" | "close" | "quiet" | "channels" | "node">;
  readonly responses: Res[];
  readonly ended: { code: status; message: string }[];
  readonly cuts: number[];
  readonly events: { [K in keyof SessionEvents]: ReturnType<typeof vi.fn<SessionEvents[K]>> };
  send(request: Init): void;
  /** The response since the last call; fails unless there is exactly one. */
  one(): Res;
  /** All responses since the last call. */
  take(): Res[];
  ack(response: Res): void;
  nack(response: Res, message: string): void;
}

export const node = {
  id: "sidecar~10.0.0.1~web-1.shop~shop.svc.cluster.local",
  metadata: { NAMESPACE: "shop", SERVICE_ACCOUNT: "web", TRAMA_VERSION: "1" },
};

export type DeltaInit = MessageInitShape<typeof DeltaDiscoveryRequestSchema>;
export type SotwInit = MessageInitShape<typeof DiscoveryRequestSchema>;

export function deltaPeer(options: PeerOptions): Peer<DeltaInit, DeltaDiscoveryResponse> {
  return peer<DeltaDiscoveryRequest, DeltaDiscoveryResponse, typeof DeltaDiscoveryRequestSchema>(
    delta,
    DeltaDiscoveryRequestSchema,
    options,
    () => ({}),
  );
}

/** Its ACKs repeat the names asked for last, as the dialect wants. */
export function sotwPeer(options: PeerOptions): Peer<SotwInit, DiscoveryResponse> {
  const names = new Map<string, readonly string[]>();
  return peer<DiscoveryRequest, DiscoveryResponse, typeof DiscoveryRequestSchema>(
    sotw,
    DiscoveryRequestSchema,
    options,
    (typeUrl, request) => {
      if (request !== undefined) names.set(typeUrl, request.resourceNames);
      return { resourceNames: [...(names.get(typeUrl) ?? [])] };
    },
  );
}

function peer<Req extends AnyRequest, Res extends { typeUrl: string; nonce: string }, Desc extends DescMessage>(
  dialect: Dialect<Req, Res>,
  schema: Desc,
  { source, clock, limits, identity, reads = true }: PeerOptions,
  repeat: (typeUrl: string, request?: Req) => object,
): Peer<MessageInitShape<Desc>, Res> {
  const events = {
    identified: vi.fn<SessionEvents["identified"]>(),
    sent: vi.fn<SessionEvents["sent"]>(),
    acked: vi.fn<SessionEvents["acked"]>(),
    nacked: vi.fn<SessionEvents["nacked"]>(),
    staleNonce: vi.fn<SessionEvents["staleNonce"]>(),
    unknownType: vi.fn<SessionEvents["unknownType"]>(),
    sendTimedOut: vi.fn<SessionEvents["sendTimedOut"]>(),
    converged: vi.fn<SessionEvents["converged"]>(),
    crashed: vi.fn<SessionEvents["crashed"]>(),
  };
  const responses: Res[] = [];
  const ended: { code: status; message: string }[] = [];
  const cuts: number[] = [];
  let read = 0;
  const session = new Session<Req, Res>(
    dialect,
    {
      trustDomain: "cluster.local",
      namespace: "shop",
      serviceAccount: "web",
      proof: "token",
      expiresAt: clock.now() + 1e9,
      ...identity,
    },
    {
      send(response, taken) {
        responses.push(response);
        if (reads) taken();
      },
      end: (code, message) => void ended.push({ code, message }),
      cut: () => void cuts.push(clock.now()),
    },
    { clock, limits: { ...defaultLimits, ...limits }, identifier: "test", events, current: () => source.current },
  );
  source.subscribe(() => session.onSnapshot(clock.now()));
  const deliver = (init: object): void => {
    const request = create(schema, init as MessageInitShape<Desc>) as unknown as Req;
    session.onRequest(request);
  };
  const take = (): Res[] => {
    const fresh = responses.slice(read);
    read = responses.length;
    return fresh;
  };
  return {
    session,
    responses,
    ended,
    cuts,
    events,
    send(init) {
      const request = create(schema, init) as unknown as Req;
      repeat(request.typeUrl, request);
      session.onRequest(request);
    },
    take,
    one() {
      const [only, ...more] = take();
      if (only === undefined || more.length > 0) throw new Error(`${more.length + (only ? 1 : 0)} responses, not one`);
      return only;
    },
    ack: ({ typeUrl, nonce }) => deliver({ typeUrl, responseNonce: nonce, ...repeat(typeUrl) }),
    nack: ({ typeUrl, nonce }, message) =>
      deliver({ typeUrl, responseNonce: nonce, errorDetail: { code: 3, message }, ...repeat(typeUrl) }),
  };
}
