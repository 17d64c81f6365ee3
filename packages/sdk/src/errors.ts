/**
 * Why a process could not join the mesh, or not keep what it needs for it, as a closed set: programs switch on `code`,
 * people read `message`, which says what happened, where, and what to do next. Errors of single calls are `MeshError`.
 */
export type TramaErrorCode =
  /** An option, or the environment variable in its place, is missing or malformed; `field` names it. */
  | "OPTIONS_INVALID"
  /** The bootstrap file cannot be used; `field` names the place in it. */
  | "BOOTSTRAP_INVALID"
  /** This release of Node.js lacks what the SDK needs. */
  | "NODE_TOO_OLD"
  /** Another copy of this library has joined the mesh in this process already. */
  | "ALREADY_JOINED"
  /** The control plane did not answer in time. */
  | "CONTROL_PLANE_UNREACHABLE"
  /** The control plane does not know who we are: token or certificate missing, expired or foreign. */
  | "UNAUTHENTICATED"
  /** The control plane knows us and refuses: usually the namespace is not that of the identity (I7). */
  | "PERMISSION_DENIED"
  /** The certificate authority did not answer in time. */
  | "CA_UNREACHABLE"
  /** The certificate authority refused: the token is expired, foreign, or made for another audience. */
  | "CA_REFUSED"
  /** The certificate that came is not one to use: another key, another identity, or no known root (I28). */
  | "CERTIFICATE_INVALID"
  /** By this machine's clock the certificate is not valid; the message says by how much the clocks differ. */
  | "CLOCK_SKEW"
  /** The folder for key and certificate cannot be written or read: full, read-only, or somebody else's. */
  | "KEY_STORE_FAILED"
  /** Identity and control plane are there, but a server's own configuration did not come in time. */
  | "NOT_READY"
  /** The mesh was closed. */
  | "CLOSED"
  /** None of the above: `cause` has it. */
  | "INTERNAL";

export interface TramaErrorOptions {
  /** The option, the field of the bootstrap, or the resource at fault. */
  readonly field?: string | undefined;
  readonly cause?: unknown;
}

export class TramaError extends Error {
  override readonly name = "TramaError";
  readonly code: TramaErrorCode;
  readonly field: string | undefined;

  constructor(code: TramaErrorCode, message: string, options: TramaErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.field = options.field;
  }
}
