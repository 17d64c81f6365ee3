import { IdentityError, type IdentitySource } from "./identity.ts";

/**
 * That of a process whose bootstrap names no certificate. Nothing that it is told may name one either (BS9), so it has no use for one:
 * it calls in plaintext, and its servers, which owe everybody their name, serve nobody.
 */
export function noIdentity(): IdentitySource {
  return {
    current: undefined,
    lastError: undefined,
    start: () =>
      Promise.reject(
        new IdentityError("KEY_STORE_FAILED", "the bootstrap has no certificate_providers.default; name one there"),
      ),
    onChange: () => {},
    close: () => {},
  };
}
