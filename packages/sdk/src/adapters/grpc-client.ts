import { credentials, type ChannelCredentials, type ChannelInterface, type ClientOptions } from "@grpc/grpc-js";

import { TramaError } from "../errors.ts";
import { internals } from "../internals.ts";
import type { Mesh } from "../mesh-types.ts";
import { MeshChannel } from "./grpc-channel.ts";
import type { GrpcClient } from "./grpc-core.ts";
import { HostLookup } from "./host-lookup.ts";

const clients = new WeakMap<Mesh, GrpcClient>();

/** One transport and one lookup for all channels of a mesh; made with the first of them. */
export function clientOf(mesh: Mesh): GrpcClient {
  let client = clients.get(mesh);
  if (client === undefined) clients.set(mesh, (client = makeClient(mesh)));
  return client;
}

function makeClient(mesh: Mesh): GrpcClient {
  const inside = internals.get(mesh);
  if (inside === undefined)
    throw new TramaError("OPTIONS_INVALID", "this mesh was joined by another copy of trama", { field: "mesh" });
  const { engine, clock, random, outboundTrafficPolicy, discovery, http2: transport } = inside;
  let closed = false;
  inside.onClose(() => {
    closed = true;
    return Promise.resolve();
  });
  return {
    engine,
    transport,
    lookup: new HostLookup({ engine, discovery }),
    clock,
    random,
    outboundTrafficPolicy,
    get closed() {
      return closed;
    },
  };
}

/**
 * Options that lead a grpc-js client into the mesh, whoever generated it:
 * `new ReviewsClient("reviews:9090", credentials.createInsecure(), meshClientOptions(mesh))`. Interceptors, message size limits,
 * keep-alive, compression and user agent may be given as ever; what concerns balancing, retries and TLS is the mesh's own business and is
 * only used for hosts that the mesh does not know.
 */
export function meshClientOptions(mesh: Mesh, options: ClientOptions = {}): ClientOptions {
  const client = clientOf(mesh);
  return {
    ...options,
    channelFactoryOverride: (target, channelCredentials, rest) =>
      new MeshChannel(client, target, channelCredentials, rest),
  };
}

/** A grpc-js channel into the mesh, for `channelOverride` and for libraries that take a channel. */
export function meshChannel(
  mesh: Mesh,
  target: string,
  options: ClientOptions = {},
  channelCredentials: ChannelCredentials = credentials.createInsecure(),
): ChannelInterface {
  return new MeshChannel(clientOf(mesh), target, channelCredentials, options);
}
