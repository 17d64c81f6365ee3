import { envoy } from "./envoy/peer.ts";
import type { Peer } from "./peer.ts";
import { goControlPlanes } from "./peers/gcp.ts";
import { grpcPeers } from "./peers/grpc.ts";
import { mixed } from "./peers/mixed.ts";
import { protobufForPython } from "./peers/protobuf.ts";
import { sidecars } from "./peers/sidecar.ts";

/** The lines of the table, in this order. */
export const peers: readonly Peer[] = [envoy, protobufForPython, ...grpcPeers, ...sidecars, mixed, ...goControlPlanes];
