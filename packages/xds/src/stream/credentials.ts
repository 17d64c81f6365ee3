import type { CallCredentials, PemSource, XdsServer } from "../bootstrap.ts";
import { textOf } from "../errors.ts";
import { readFileText } from "../read-file.ts";
import { codes } from "./codes.ts";
import type { ClientCertificate } from "./transport.ts";

/** Why a call could not begin, or how it failed, in gRPC's terms. The message never holds a secret. */
export class CallError extends Error {
  override readonly name = "CallError";
  readonly code: number;

  constructor(code: number, message: string, cause?: unknown) {
    super(message, { cause });
    this.code = code;
  }
}

/** What a TLS connection is made with, in the words of `node:tls`. */
export interface TlsMaterial {
  /** Absent: the system's roots. */
  readonly ca?: string;
  readonly cert?: string;
  readonly key?: string;
}

/** `undefined`: no TLS. Our own certificate goes before the bootstrap's files. */
export async function tlsMaterial(
  { channel }: XdsServer,
  certificate: (() => Promise<ClientCertificate | undefined>) | undefined,
): Promise<TlsMaterial | undefined> {
  if (channel.kind === "insecure") return undefined;
  // All blocks of the file count, not only the first (I3).
  const ca = channel.roots && (await pem(channel.roots));
  const own = (await certificate?.()) ?? (channel.certificate && (await readPair(channel.certificate)));
  return { ...(ca !== undefined && { ca }), ...(own && { cert: own.certificatePem, key: own.privateKeyPem }) };
}

async function pem(source: PemSource): Promise<string> {
  if ("pem" in source) return source.pem;
  return read(source.file, codes.unavailable, "root certificate of the control plane");
}

async function readPair(files: { certificateFile: string; privateKeyFile: string }): Promise<ClientCertificate> {
  const [certificatePem, privateKeyPem] = await Promise.all([
    read(files.certificateFile, codes.unavailable, "certificate for the control plane"),
    read(files.privateKeyFile, codes.unavailable, "key for the control plane"),
  ]);
  return { certificatePem, privateKeyPem };
}

/** Values of `authorization`, read for each call: the token of start-up may have expired (I4). */
export async function authorizations(credentials: readonly CallCredentials[]): Promise<string[]> {
  const values: string[] = [];
  for (const one of credentials) {
    const text = await token(one);
    // Refused here, because Node would print the token in its own message.
    if (!/^[\x21-\x7e]+$/.test(text))
      throw new CallError(codes.unauthenticated, "the join token is empty or not one line of ASCII");
    values.push(`Bearer ${text}`);
  }
  return values;
}

async function token(credentials: CallCredentials): Promise<string> {
  if (credentials.kind === "token_file") {
    return (await read(credentials.file, codes.unauthenticated, "join token")).trim();
  }
  try {
    return (await credentials.read()).trim();
  } catch (error) {
    throw new CallError(codes.unauthenticated, `the join token could not be had (${textOf(error)})`, error);
  }
}

async function read(file: string, code: number, what: string): Promise<string> {
  try {
    return await readFileText(file);
  } catch (error) {
    throw new CallError(code, `the ${what} in ${file} cannot be read (${textOf(error)})`, error);
  }
}
