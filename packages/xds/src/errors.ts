/**
 * Why the mesh's configuration could not be had, as a closed set: programs switch on `code`, people read `message`,
 * which says what happened, where, and what to do next.
 */
export type XdsErrorCode =
  /** The bootstrap (file, text, environment or options) cannot be used; `field` names the place. */
  | "BOOTSTRAP_INVALID"
  /** No stream to the control plane could be opened, or it ended before it answered. */
  | "CONTROL_PLANE_UNREACHABLE"
  /** The control plane does not know who we are: token or certificate missing, expired or foreign. */
  | "UNAUTHENTICATED"
  /** The control plane knows us and refuses: usually the node's namespace is not that of the identity (I7). */
  | "PERMISSION_DENIED"
  /** A resource was refused (NACKed) and no earlier version of it is known. */
  | "RESOURCE_INVALID"
  /** Connected, but the answer did not come in time. */
  | "TIMEOUT"
  /** More names were asked for than the client was allowed to hold. */
  | "LIMIT_EXCEEDED"
  /** The client was closed. */
  | "CLOSED";

export interface XdsErrorOptions {
  /** The field of the bootstrap, or the name of the resource. */
  readonly field?: string | undefined;
  readonly cause?: unknown;
}

export class XdsError extends Error {
  override readonly name = "XdsError";
  readonly code: XdsErrorCode;
  /** The field of the bootstrap, or the name of the resource, that is at fault. */
  readonly field: string | undefined;

  constructor(code: XdsErrorCode, message: string, options: XdsErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.field = options.field;
  }
}

/** Text of whatever was thrown, for messages to people. */
export function textOf(thrown: unknown): string {
  return thrown instanceof Error ? thrown.message : String(thrown);
}
