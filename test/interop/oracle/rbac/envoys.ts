import type { DataSourceSchema } from "@trama/proto/envoy/config/core/v3/base_pb.js";
import { TlsInspectorSchema } from "@trama/proto/envoy/extensions/filters/listener/tls_inspector/v3/tls_inspector_pb.js";
import { DownstreamTlsContextSchema } from "@trama/proto/envoy/extensions/transport_sockets/tls/v3/tls_pb.js";

import { any, socketAddress } from "../../../kit/xds-resources.ts";
import { observingManager, toldBy } from "../../envoy/observe.ts";
import type { Init } from "../../envoy/observe.ts";
import { startEnvoy } from "../../envoy/process.ts";
import type { BootstrapInit, RunningEnvoy } from "../../envoy/process.ts";
import type { Context } from "../../peer.ts";
import { exchange } from "../http1.ts";
import type { WireRequest } from "../http1.ts";
import type { RbacCase } from "./case.ts";
import { dial } from "./clients.ts";
import type { Client, Pki } from "./clients.ts";

export interface EnvoyServers {
  judge(
    test: RbacCase,
    client: Client,
    requests: readonly WireRequest[],
  ): Promise<{ status: number; details: string }[]>;
  stop(): Promise<void>;
}

/** Envoy's way: each case is a listener with the two chains of PERMISSIVE, and answers by itself what it lets pass. */
export async function envoyServers(
  context: Context,
  cases: readonly RbacCase[],
  pki: Pki,
  host: string,
): Promise<EnvoyServers> {
  const listeners = cases.map((test) => listener(test, pki, host));
  const envoy: RunningEnvoy = await startEnvoy(context, "rbac", { staticResources: { listeners } });
  return {
    stop: () => envoy.stop(),
    async judge({ port }, client, requests) {
      const responses = await exchange(() => dial(client, pki, host, port), requests, context.signal, 2);
      return responses.map((response) => ({ status: response.status, details: toldBy(response).details }));
    },
  };
}

type ListenerInit = NonNullable<NonNullable<BootstrapInit["staticResources"]>["listeners"]>[number];

function listener({ name, port, filters, routes }: RbacCase, pki: Pki, host: string): ListenerInit {
  const answers = routes.map(
    (route) => ({ ...route, action: { case: "directResponse", value: { status: 200 } } }) as const,
  );
  const manager = observingManager({ virtualHosts: [{ name: "inbound", domains: ["*"], routes: answers }] }, filters);
  const tls = any(DownstreamTlsContextSchema, {
    requireClientCertificate: true,
    commonTlsContext: {
      tlsCertificates: [{ certificateChain: inline(pki.server.certPem), privateKey: inline(pki.server.keyPem) }],
      validationContextType: { case: "validationContext", value: { trustedCa: inline(pki.root.certPem) } },
    },
  });
  const socket = { name: "envoy.transport_sockets.tls", configType: { case: "typedConfig", value: tls } as const };
  return {
    name,
    address: socketAddress(host, port),
    listenerFilters: [
      {
        name: "envoy.filters.listener.tls_inspector",
        configType: { case: "typedConfig", value: any(TlsInspectorSchema, {}) },
      },
    ],
    filterChains: [
      { filterChainMatch: { transportProtocol: "tls" }, filters: [manager], transportSocket: socket },
      { filterChainMatch: { transportProtocol: "raw_buffer" }, filters: [manager] },
    ],
  };
}

function inline(value: string): Init<typeof DataSourceSchema> {
  return { specifier: { case: "inlineString", value } };
}
