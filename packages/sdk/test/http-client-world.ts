import { once } from "node:events";
import type { Server } from "node:http";
import type { AddressInfo } from "node:net";
import type { MeshConfig } from "@trama/engine";

import { cluster, endpoint, forward, listener, meshConfig, retryPolicy, route } from "../../../test/kit/mesh-config.ts";
import type { ClusterOptions } from "../../../test/kit/mesh-config.ts";
import { meshAgents, type MeshAgents } from "../src/adapters/http-agent.ts";
import { internals } from "../src/internals.ts";
import type { Mesh } from "../src/mesh-types.ts";
import { type ClientWorld, clientWorld } from "./client-world.ts";

/** A client world whose calls come in by `node:http`. */
export interface HttpClientWorld extends ClientWorld {
  readonly agents: MeshAgents;
  /** As far as the adapters of `trama/http` need it. */
  readonly mesh: Mesh;
}

export function httpClientWorld(
  config: MeshConfig,
  identity?: Parameters<typeof clientWorld>[1],
  policy: "ALLOW_ANY" | "REGISTRY_ONLY" = "ALLOW_ANY",
): HttpClientWorld {
  const world = clientWorld(config, identity, policy);
  const agents = meshAgents(world.dispatcher, policy);
  const closers: ((deadlineMs: number) => Promise<void>)[] = [];
  const mesh = {} as Mesh;
  internals.set(mesh, {
    dispatcher: world.dispatcher,
    outboundTrafficPolicy: policy,
    open: true,
    onClose: (close: (deadlineMs: number) => Promise<void>) => void closers.push(close),
  } as never);
  const close = world.close.bind(world);
  return Object.assign(world, {
    agents,
    mesh,
    async close() {
      agents.http.destroy();
      agents.https.destroy();
      await Promise.all(closers.map((each) => each(0)));
      await close();
    },
  });
}

/** `reviews:9090` at this address, with retries on failures of every kind. */
export function reviewsAt(address: string, options: ClusterOptions = {}): MeshConfig {
  const retry = retryPolicy({
    retryOn: ["5xx", "connect-failure", "reset", "refused-stream"],
    retries: 3,
    backoffBaseMs: 1,
    backoffMaxMs: 2,
  });
  return meshConfig({
    outbound: [listener("reviews:9090", [route(forward("c", { retry }))])],
    clusters: [cluster("c", { endpoints: [endpoint(address)], ...options })],
  });
}

/** `127.0.0.1:port`, once it listens. */
export async function listening(server: Server): Promise<string> {
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return `127.0.0.1:${(server.address() as AddressInfo).port}`;
}
