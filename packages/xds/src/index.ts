export * from "./bootstrap.ts";
export type { XdsClient, XdsClientOptions } from "./client.ts";
export * from "./errors.ts";
export type * from "./status.ts";
export type * from "./stream/transport.ts";
