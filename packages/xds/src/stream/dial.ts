import { connect as connectTcp, isIP, type Socket } from "node:net";
import { checkServerIdentity, connect as connectTls } from "node:tls";

import { textOf } from "../errors.ts";
import { codes } from "./codes.ts";
import { CallError, type TlsMaterial } from "./credentials.ts";
import type { Target } from "./target.ts";

/** Begins a connection: TCP or a Unix socket, and TLS on it where there is something to trust. Never the environment's proxy: the control plane is inside. */
export function dial(target: Target, tls: TlsMaterial | undefined, serverName: string | undefined): Socket {
  if (tls === undefined) return connectTcp(target.dial);
  const name = serverName ?? target.host;
  try {
    return connectTls({
      ...target.dial,
      ...tls,
      minVersion: "TLSv1.2",
      ALPNProtocols: ["h2"],
      // RFC 6066 §3 knows no addresses in SNI; an empty name sends none. The certificate is checked against the address all the same.
      servername: isIP(name) === 0 ? name : "",
      checkServerIdentity: (_host, certificate) => checkServerIdentity(name, certificate),
      // Whatever NODE_TLS_REJECT_UNAUTHORIZED says.
      rejectUnauthorized: true,
    });
  } catch (error) {
    const message = `the TLS material for ${target.authority} is unusable (${textOf(error)}); check the root certificate and our own pair`;
    throw new CallError(codes.unavailable, message, error);
  }
}

/** Node sums up the attempts at several addresses in an error without a message. */
export function connectFailure(error: Error): string {
  if (error instanceof AggregateError && error.message === "") return error.errors.map(textOf).join("; ");
  return error.message;
}
