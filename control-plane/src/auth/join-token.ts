import { randomUUID } from "node:crypto";
import { errors, jwtVerify, SignJWT } from "jose";

import { AuthError } from "./auth-error.ts";
import { type Identity, parseTokenSubject, tokenSubject } from "./identity.ts";
import type { TokenKey } from "./token-key.ts";

const ISSUER = "trama";
/** Istio's audience for tokens to its control plane (I4). */
const AUDIENCE = "istio-ca";
/** By how much clocks may differ. */
const SKEW_SECONDS = 60;
/** A token of ours is 400 bytes; a longer one is not read. */
const MAX_TOKEN_LENGTH = 4_096;

export const tokenLife: { readonly minSeconds: number; readonly maxSeconds: number } = {
  minSeconds: 1,
  maxSeconds: 366 * 86_400,
};

/** What `issueToken` refuses. */
export class TokenRequestError extends Error {
  override readonly name = "TokenRequestError";
}

export interface TokenRequest {
  readonly namespace: string;
  readonly serviceAccount: string;
  /** 1 second to 366 days. */
  readonly lifeSeconds: number;
}

/** A join token: by it a process without a certificate proves which service account it runs as. */
export async function issueJoinToken(key: TokenKey, request: TokenRequest, now: number): Promise<string> {
  const subject = tokenSubject(request.namespace, request.serviceAccount);
  if (subject === undefined)
    throw new TokenRequestError(
      `namespace ${JSON.stringify(request.namespace)} or service account ${JSON.stringify(request.serviceAccount)} ` +
        "is not a legal name: lower-case letters, digits and hyphens",
    );
  const { lifeSeconds } = request;
  if (!(lifeSeconds >= tokenLife.minSeconds && lifeSeconds <= tokenLife.maxSeconds))
    throw new TokenRequestError(
      `a token lives ${tokenLife.minSeconds} to ${tokenLife.maxSeconds} s, not ${lifeSeconds}`,
    );
  const issuedAt = Math.floor(now / 1_000);
  return new SignJWT()
    .setProtectedHeader({ alg: "ES256", typ: "JWT" })
    .setIssuer(ISSUER)
    .setAudience([AUDIENCE])
    .setSubject(subject)
    .setIssuedAt(issuedAt)
    .setExpirationTime(issuedAt + Math.floor(lifeSeconds))
    .setJti(randomUUID())
    .sign(key.privateKey);
}

/** Signature, algorithm, issuer, audience, times and subject; the message tells the first that does not hold. */
export async function verifyJoinToken(
  key: TokenKey,
  token: string,
  trustDomain: string,
  now: number,
): Promise<Identity> {
  if (token.length > MAX_TOKEN_LENGTH) throw new AuthError("the join token is too long to be one");
  const { sub, exp, iat } = await claimsOf(key, token, now);
  const account = parseTokenSubject(sub ?? "");
  if (account === undefined || exp === undefined || iat === undefined)
    throw new AuthError("the subject of the join token is not system:serviceaccount:<namespace>:<name>");
  if (iat * 1_000 > now + SKEW_SECONDS * 1_000)
    throw new AuthError("the join token was issued in the future: one of the two clocks is wrong");
  return { trustDomain, ...account, proof: "token", expiresAt: exp * 1_000 };
}

async function claimsOf(
  key: TokenKey,
  token: string,
  now: number,
): Promise<{ sub?: string; exp?: number; iat?: number }> {
  try {
    const { payload } = await jwtVerify(token, key.publicKey, {
      algorithms: ["ES256"],
      issuer: ISSUER,
      audience: AUDIENCE,
      clockTolerance: SKEW_SECONDS,
      currentDate: new Date(now),
      requiredClaims: ["sub", "exp", "iat", "jti"],
    });
    return payload;
  } catch (error) {
    throw new AuthError(explain(error, now));
  }
}

function explain(error: unknown, now: number): string {
  if (error instanceof errors.JWTExpired)
    return (
      `the join token expired at ${new Date((error.payload.exp ?? 0) * 1_000).toISOString()} ` +
      `(it is ${new Date(now).toISOString()} here); issue a new one`
    );
  if (error instanceof errors.JWTClaimValidationFailed)
    return `the join token is not for this control plane: its claim ${error.claim} is missing or another than expected`;
  if (error instanceof errors.JWSSignatureVerificationFailed)
    return "the join token is not signed by this control plane's key; issue one by this control plane";
  return "the join token is not a JWT signed by ES256";
}
