export { MeshError } from "@trama/engine";
export type { Logger, MeshErrorCode, Peer } from "@trama/engine";
export type { ConnectOptions } from "./adapters/connector.ts";
export { detached } from "./context.ts";
export { TramaError } from "./errors.ts";
export type { TramaErrorCode } from "./errors.ts";
export type { CloseOptions, IdentityStatus, Mesh, MeshStatus, ServerStatus } from "./mesh-types.ts";
export type { MeshOptions, MetricsChoice } from "./options.ts";
export { joinMesh } from "./join.ts";
