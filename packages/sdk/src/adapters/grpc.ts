// gRPC in the mesh: `trama/grpc`, for @grpc/grpc-js.
export { meshChannel, meshClientOptions } from "./grpc-client.ts";
export { meshInterceptor } from "./grpc-interceptor.ts";
