import { once } from "node:events";
import { connect, createServer, type AddressInfo, type Server } from "node:net";

import { TlsInspectorSchema } from "@trama/proto/envoy/extensions/filters/listener/tls_inspector/v3/tls_inspector_pb.js";

import { any, duration, socketAddress } from "../../../kit/xds-resources.ts";
import { type RunningEnvoy, startEnvoy } from "../../envoy/process.ts";
import type { Context } from "../../peer.ts";
import { clusters, type ConnectionCase } from "./cases.ts";

export interface EnvoyConnections {
  /** The cluster whose server got the bytes, or `none`: the connection was closed. */
  send(test: ConnectionCase, bytes: Buffer): Promise<string>;
  stop(): Promise<void>;
}

/** Envoy's way: a listener each, behind a TLS inspector, and a server behind each cluster that says its name to whoever says anything. */
export async function envoyConnections(
  context: Context,
  cases: readonly ConnectionCase[],
  host: string,
): Promise<EnvoyConnections> {
  const servers = await Promise.all(clusters.map((name) => serve(name)));
  const close = (): Promise<unknown> =>
    Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
  let envoy: RunningEnvoy;
  try {
    envoy = await startEnvoy(context, "connections", {
      staticResources: {
        clusters: clusters.map((name, at) => ({
          name,
          connectTimeout: duration(5_000),
          loadAssignment: {
            clusterName: name,
            endpoints: [{ lbEndpoints: [{ hostIdentifier: { case: "endpoint", value: place(servers[at]!) } }] }],
          },
        })),
        listeners: cases.map(({ name, port, filterChains, defaultFilterChain }) => ({
          name,
          address: socketAddress(host, port),
          listenerFilters: [
            {
              name: "envoy.filters.listener.tls_inspector",
              configType: { case: "typedConfig", value: any(TlsInspectorSchema, {}) },
            },
          ],
          filterChains: [...filterChains],
          ...(defaultFilterChain && { defaultFilterChain }),
        })),
      },
    });
  } catch (thrown) {
    await close();
    throw thrown;
  }
  return {
    async send({ port }, bytes) {
      const socket = connect({ host, port });
      context.signal.addEventListener("abort", () => socket.destroy(), { once: true });
      let told = "";
      socket.on("data", (chunk) => (told += chunk.toString()));
      socket.on("error", () => {});
      socket.write(bytes);
      // Whoever is not let in is reset.
      await new Promise((resolve) => socket.once("close", resolve));
      return told === "" ? "none" : told;
    },
    async stop() {
      await envoy.stop();
      await close();
    },
  };
}

async function serve(name: string): Promise<Server> {
  const server = createServer((socket) => {
    socket.on("error", () => {});
    socket.once("data", () => socket.end(name));
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return server;
}

function place(server: Server): { readonly address: ReturnType<typeof socketAddress> } {
  return { address: socketAddress("127.0.0.1", (server.address() as AddressInfo).port) };
}
