// gRPC in the mesh: `trama/grpc`, for @grpc/grpc-js.
export { meshChannel, meshClientOptions } from "./grpc-client.ts";
export { addHealth } from "./grpc-health.ts";
export type { Health, HealthOptions } from "./grpc-health.ts";
export { meshInterceptor } from "./grpc-interceptor.ts";
export { peerOf } from "./grpc-peer.ts";
export type { ServedCall } from "./grpc-peer.ts";
export { protectGrpc } from "./grpc-server.ts";
export type { ProtectGrpcOptions } from "./grpc-server.ts";
