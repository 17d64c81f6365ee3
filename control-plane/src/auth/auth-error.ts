import { status } from "@grpc/grpc-js";

/** Why a caller is not let in. The message goes to the caller: it says what to mend, and repeats no secret. */
export class AuthError extends Error {
  override readonly name = "AuthError";
  readonly code: status = status.UNAUTHENTICATED;
}
