import { create, toBinary } from "@bufbuild/protobuf";
import { HeaderList } from "@trama/engine";
import type { InboundListener, RbacConfig, Service } from "@trama/engine";
import { ListenerSchema } from "@trama/proto/envoy/config/listener/v3/listener_pb.js";
import { HttpConnectionManagerSchema } from "@trama/proto/envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager_pb.js";

import { compileInbound } from "../../../../packages/engine/src/inbound/accept.ts";
import { compileInboundRoutes } from "../../../../packages/engine/src/route/router.ts";
import { compileRegex } from "../../../../packages/sdk/src/env/regex.ts";
import type { DecodedChain } from "../../../../packages/xds/src/resources/filter-chain.ts";
import { listenerType } from "../../../../packages/xds/src/resources/listener.ts";
import { makeCall } from "../../../kit/call.ts";
import { testEnv } from "../../../kit/env.ts";
import { TestSink } from "../../../kit/sink.ts";
import { any, downstreamTlsContext, routerFilter, socketAddress } from "../../../kit/xds-resources.ts";
import type { WireRequest } from "../http1.ts";
import { decodeOptions } from "../routes/ours.ts";
import type { RbacCase } from "./case.ts";
import { peerOf } from "./clients.ts";
import type { Client } from "./clients.ts";

export interface OurServer {
  /** What the policies are after decoding. */
  readonly policies: readonly RbacConfig[];
  /** The status a peer sees. */
  judge(client: Client, request: WireRequest): number;
}

/** Our way: the bytes of an inbound listener as docs/wire.md has it → decoder → engine, with the peer that a handshake establishes. */
export function ourServer(test: RbacCase, host: string): OurServer {
  const listener = decodeListener(test, host);
  const env = testEnv({ regex: compileRegex });
  const deps = { env, state: { counter: () => ({ value: 0 }) }, cluster: () => undefined };
  const inbound = compileInbound(listener, {
    env,
    observe: (inner) => inner,
    routes: (chain) => compileInboundRoutes(chain.routes, { ...deps, filters: chain.filters }),
  });
  const handler: Service = (_call, sink) => {
    sink.onHead({ status: 200, headers: HeaderList.empty() }, { pause() {}, resume() {} });
    sink.onEnd(undefined);
  };
  const filters = listener.chains[0]!.filters.map(({ config }) => config);
  const overrides = listener.chains[0]!.routes.virtualHosts.flatMap(({ routes }) =>
    routes.flatMap((route) => [...route.overrides.values()]),
  );
  return {
    policies: [...filters, ...overrides].filter((config) => config !== "off" && config.kind === "rbac"),
    judge(client, { method, target, host: authority, headers }) {
      const peer = peerOf(client, host, test.port);
      const chain = inbound.chain({ ...peer, transportProtocol: peer.mtls ? "tls" : "raw_buffer" });
      if (chain === undefined) return 0;
      const call = makeCall({ side: "inbound", method, path: target, authority, peer });
      for (const [name, value] of headers) call.headers.append(name, value);
      const sink = new TestSink();
      chain.serve(handler)(call, sink);
      return sink.status ?? sink.error?.status ?? 0;
    },
  };
}

function decodeListener({ name, port, filters, routes }: RbacCase, host: string): InboundListener {
  const manager = any(HttpConnectionManagerSchema, {
    routeSpecifier: {
      case: "routeConfig",
      value: {
        virtualHosts: [
          {
            name: "inbound",
            domains: ["*"],
            routes: routes.map((route) => ({ ...route, action: { case: "nonForwardingAction", value: {} } }) as const),
          },
        ],
      },
    },
    httpFilters: [...filters, routerFilter],
  });
  const chain = (transportProtocol: "tls" | "raw_buffer") => ({
    name: transportProtocol,
    filterChainMatch: { transportProtocol },
    filters: [{ name: "http", configType: { case: "typedConfig", value: manager } as const }],
    ...(transportProtocol === "tls" && {
      transportSocket: {
        name: "envoy.transport_sockets.tls",
        configType: { case: "typedConfig", value: downstreamTlsContext() } as const,
      },
    }),
  });
  const message = create(ListenerSchema, {
    name,
    address: socketAddress(host, port),
    filterChains: [chain("tls"), chain("raw_buffer")],
  } as never);
  const { value } = listenerType.decode(toBinary(ListenerSchema, message), decodeOptions);
  if (value.kind !== "inbound") throw new Error("an inbound listener was decoded as an outbound one");
  return { name: value.address, chains: value.chains.map(chainOf), defaultChain: undefined, service: undefined };
}

function chainOf({ name, match, tls, http }: DecodedChain): InboundListener["chains"][number] {
  if ("rds" in http.routes) throw new Error("routes were inline");
  return { name, match, tls, filters: http.filters, routes: http.routes };
}
