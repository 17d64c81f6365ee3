import { Call, HeaderList, noBody } from "@trama/engine";
import type { CallInit, Peer, Snapshot, Transport } from "@trama/engine";

export interface CallOptions extends Partial<Omit<CallInit, "headers">> {
  readonly headers?: Readonly<Record<string, string>>;
  /** Whether the body can be sent again. Default: there is none, so it can. */
  readonly replay?: boolean | (() => boolean);
}

/** A call with what a plain GET has; the test says only what matters to it. */
export function makeCall(options: CallOptions = {}): Call {
  const { headers, replay, body, ...rest } = options;
  return new Call({
    snapshot: emptySnapshot,
    side: "outbound",
    protocol: "http",
    method: "GET",
    authority: "reviews:9080",
    path: "/",
    transport: noTransport,
    startMs: 1_000,
    ...rest,
    headers: headers === undefined ? HeaderList.empty() : HeaderList.ofRecord(headers),
    body: body ?? (replay === undefined ? noBody : { canReplay: typeof replay === "function" ? replay : () => replay }),
  });
}

export function makePeer(overrides: Partial<Peer> = {}): Peer {
  return {
    spiffeId: "spiffe://cluster.local/ns/shop/sa/web",
    trustDomain: "cluster.local",
    namespace: "shop",
    serviceAccount: "web",
    remoteAddress: "10.0.0.9",
    remotePort: 40_000,
    localAddress: "10.0.0.1",
    localPort: 9_080,
    mtls: true,
    serverName: "",
    notAfterMs: Infinity,
    ...overrides,
  };
}

/** For parts that never look at their call's snapshot. */
export const emptySnapshot: Snapshot = {
  version: 0,
  config: { outbound: new Map(), inbound: new Map(), clusters: new Map() },
  outbound: () => undefined,
  opaque: () => undefined,
  inbound: () => undefined,
};

/** For calls that must not be sent. */
const noTransport: Transport = {
  send(attempt) {
    throw new Error(`nothing was expected to be sent, least of all to ${attempt.endpoint.address}`);
  },
};
