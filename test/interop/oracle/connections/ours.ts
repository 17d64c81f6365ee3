import { create, toBinary } from "@bufbuild/protobuf";
import { TrafficDirection } from "@trama/proto/envoy/config/core/v3/base_pb.js";
import { ListenerSchema } from "@trama/proto/envoy/config/listener/v3/listener_pb.js";
import type { RouteConfiguration } from "@trama/engine";

import { createEngine } from "../../../../packages/engine/src/engine.ts";
import { listenerType } from "../../../../packages/xds/src/resources/listener.ts";
import { makeCall } from "../../../kit/call.ts";
import { testEnv } from "../../../kit/env.ts";
import { cluster, meshConfig } from "../../../kit/mesh-config.ts";
import { MockPeer } from "../../../kit/peer.ts";
import { TestSink } from "../../../kit/sink.ts";
import { decodeOptions } from "../routes/ours.ts";
import { clusters, type ConnectionCase, type Hello } from "./cases.ts";

/** Our way: bytes → decoder → engine. The cluster of a connection, or `none`. */
export function ourConnections({ name, filterChains, defaultFilterChain }: ConnectionCase): (hello: Hello) => string {
  const message = create(ListenerSchema, {
    name,
    trafficDirection: TrafficDirection.OUTBOUND,
    filterChains: [...filterChains],
    ...(defaultFilterChain && { defaultFilterChain }),
  });
  const decoded = listenerType.decode(toBinary(ListenerSchema, message), decodeOptions).value;
  if (decoded.kind !== "outbound" || !decoded.opaque) throw new Error("not an opaque outbound listener");
  const routes = decoded.http.routes as RouteConfiguration;
  const engine = createEngine(
    testEnv({}),
    meshConfig({
      outbound: [{ name, filters: [], opaque: true, routes }],
      clusters: clusters.map((each) => cluster(each)),
    }),
  );
  return (hello) => {
    const call = makeCall({
      snapshot: engine.current,
      protocol: "tcp",
      path: "/",
      // The application says what it is going to ask for; nobody reads it from the bytes.
      authority: hello.kind === "tls" ? hello.serverName.toLowerCase() : "",
      transport: new MockPeer(),
    });
    const sink = new TestSink();
    engine.outbound(name, call, sink);
    return sink.error === undefined ? call.record.cluster!.name : "none";
  };
}
