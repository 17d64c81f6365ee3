/** What can keep the control plane from starting, as a closed set: programs switch on it, people read the message. */
export type ControlPlaneErrorCode =
  /** An option is missing, of the wrong type or out of its bounds. */
  | "OPTIONS"
  /** The data directory cannot be made, read or written. */
  | "DATA_DIR"
  /** The data directory may not be read or written by this user. */
  | "PERMISSION"
  /** There is no room left for the files of the data directory. */
  | "DISK_FULL"
  /** A file of the certificate authority is missing, is not what it must be, or does not fit the others. */
  | "CA_INVALID"
  /** The signing certificate, or one above it, is past its end or before its beginning by this machine's clock. */
  | "CA_EXPIRED"
  /** The key of the join tokens is not what it must be. */
  | "TOKEN_KEY_INVALID"
  /** The address or port cannot be listened on. */
  | "LISTEN"
  /** The command `bootstrap` got no certificate from the control plane. */
  | "JOIN";

/** The one error that starting throws: a stable code, and a message that says what is wrong and how to mend it. */
export class ControlPlaneError extends Error {
  override readonly name = "ControlPlaneError";
  readonly code: ControlPlaneErrorCode;

  constructor(code: ControlPlaneErrorCode, message: string, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.code = code;
  }
}
