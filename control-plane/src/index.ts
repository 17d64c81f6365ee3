export type { ListedNode } from "./ads/plaintext.ts";
export type { ControlPlaneOptions } from "./config.ts";
export { type Diagnostic, formatDiagnostic } from "./diagnostics.ts";
export { ControlPlaneError, type ControlPlaneErrorCode } from "./errors.ts";
export type { ClientStatus, ControlPlaneStatus, TypeStatus } from "./status.ts";
export { type ControlPlane, startControlPlane } from "./runner.ts";
export type { TokenRequest } from "./auth/join-token.ts";
