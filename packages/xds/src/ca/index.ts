// The identity of this process, apart from the xDS client.
export { certificateFacts, identityOf, parseSpiffeId } from "./certificate.ts";
export type { CertificateFacts, SpiffeId } from "./certificate.ts";
export { pemBlocks } from "./check.ts";
export type { ExpectedIdentity } from "./check.ts";
export { createFileIdentity } from "./from-files.ts";
export type { FileIdentityOptions } from "./from-files.ts";
export { IdentityError } from "./identity.ts";
export type { Identity, IdentityErrorCode, IdentitySource } from "./identity.ts";
export { noIdentity } from "./none.ts";
export { readFileText } from "../read-file.ts";
export { createIdentity } from "./rotation.ts";
export type { IdentityOptions } from "./rotation.ts";
export { grpcSigner, SigningFailure } from "./sign.ts";
export type { Signer } from "./sign.ts";
