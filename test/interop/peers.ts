import { envoy } from "./envoy/peer.ts";
import type { Peer } from "./peer.ts";
import { grpcPeers } from "./peers/grpc.ts";

/** The lines of the table, in this order. */
