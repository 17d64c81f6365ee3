import type { MeshConfig } from "@trama/engine";

import { type AdsServer, type AdsServerOptions, startAdsServer } from "../../../test/kit/ads-server.ts";
import { testEnv } from "../../../test/kit/env.ts";
import {
  assignment,
  edsCluster,
  outboundListener,
  routeConfiguration,
  routeTo,
} from "../../../test/kit/xds-resources.ts";
import { parseBootstrap } from "../src/bootstrap-parse.ts";
import { createXdsClient } from "../src/client.ts";
import type { XdsClient, XdsClientOptions } from "../src/client-face.ts";
import { createGrpcTransport } from "../src/stream/grpc-transport.ts";

const cleanups: (() => Promise<void>)[] = [];

/** For `afterEach`. */
export async function leaveWorld(): Promise<void> {
  for (const cleanup of cleanups.splice(0).toReversed()) await cleanup();
}

export async function adsServer(options: AdsServerOptions = {}): Promise<AdsServer> {
  const server = await startAdsServer(options);
  cleanups.push(() => server.close());
  return server;
}

export interface Joined {
  readonly client: XdsClient;
  readonly configs: MeshConfig[];
  readonly env: ReturnType<typeof testEnv>;
}

/** A client of the server with virtual time: sockets are real, waiting is not. */
export function join(
  server: AdsServer,
  more: Partial<XdsClientOptions> = {},
  features: string[] = [],
  locality?: { readonly region: string; readonly zone: string },
): Joined {
  const bootstrap = parseBootstrap({
    xds_servers: [{ server_uri: server.address, channel_creds: [{ type: "insecure" }], server_features: features }],
    node: { id: "sidecar~127.0.0.1~test.shop~shop.svc.cluster.local", locality, metadata: { NAMESPACE: "shop" } },
    server_listener_resource_name_template: "xds.istio.io/grpc/lds/inbound/%s",
  });
  const configs: MeshConfig[] = [];
  const env = testEnv();
  const client = createXdsClient({
    bootstrap,
    transport: createGrpcTransport({ server: bootstrap.servers[0] }),
    clock: env.clock,
    random: env.random,
    log: env.log,
    regex: env.regex,
    onConfig: (config) => void configs.push(config),
    ...more,
  });
  cleanups.push(() => client.close());
  client.start();
  return { client, configs, env };
}

/** The control plane's address with nobody there: streams to it never open. */
export async function nobody(): Promise<AdsServer> {
  const server = await adsServer();
  await server.stop();
  return server;
}

export const host = "reviews.shop.svc.cluster.local";
export const routeName: string = `outbound|9080||${host}`;
export const v1: string = `outbound|9080|v1|${host}`;
export const v2: string = `outbound|9080|v2|${host}`;

/** All resources of `reviews:9080`. */
export function reviews(weights: Record<string, number> = { [v1]: 90, [v2]: 10 }): Parameters<AdsServer["set"]> {
  return [
    outboundListener("reviews:9080", routeName),
    routeConfiguration(routeName, ["reviews", "reviews:9080"], [routeTo(weights)]),
    edsCluster(v1),
    edsCluster(v2),
    assignment(v1, [{ address: "10.0.0.1", port: 9080, tlsMode: "istio" }]),
    assignment(v2, [{ address: "10.0.0.2", port: 9080 }]),
  ];
}

export const weightsOf = (config: MeshConfig, name = "reviews:9080"): unknown => {
  const action = config.outbound.get(name)?.routes.virtualHosts[0]?.routes[0]?.action;
  return action?.kind === "forward" ? action.clusters.map((one) => one.weight) : undefined;
};
