export * from "./bootstrap.ts";
export { parseBootstrap } from "./bootstrap-parse.ts";
export { type BootstrapOptions, bootstrapFor } from "./bootstrap-short.ts";
export { type BootstrapSource, bootstrapSource, readBootstrap } from "./bootstrap-source.ts";
export { type XdsClient, type XdsClientOptions, createXdsClient } from "./client.ts";
export { XdsError, type XdsErrorCode, type XdsErrorOptions } from "./errors.ts";
export type * from "./status.ts";
export { type GrpcTransportOptions, createGrpcTransport } from "./stream/grpc-transport.ts";
export type * from "./stream/transport.ts";
