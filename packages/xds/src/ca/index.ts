export { certificateFacts, identityOf, parseSpiffeId } from "./certificate.ts";
export type { CertificateFacts, SpiffeId } from "./certificate.ts";
export { IdentityError } from "./identity.ts";
export type { Identity, IdentityErrorCode, IdentitySource } from "./identity.ts";
