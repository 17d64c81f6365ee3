import { status } from "@grpc/grpc-js";

/** Why a caller is not let in. The message goes to the caller: it says what to mend, and repeats no secret. */
export class AuthError extends Error {
  override readonly name = "AuthError";
  readonly code: status.UNAUTHENTICATED | status.PERMISSION_DENIED;

  constructor(code: AuthError["code"], message: string) {
    super(message);
    this.code = code;
  }

  static unauthenticated(message: string): AuthError {
    return new AuthError(status.UNAUTHENTICATED, message);
  }

  static denied(message: string): AuthError {
    return new AuthError(status.PERMISSION_DENIED, message);
  }
}
