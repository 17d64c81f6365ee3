import { deflate, gunzip, gzip, inflate, type InputType } from "node:zlib";

/** What we take, as `grpc-accept-encoding` says it. */
export const acceptedEncodings = "identity,deflate,gzip";

type Packer = (bytes: InputType, done: (error: Error | null, result: Buffer) => void) => void;

/** By grpc-js's `compressionAlgorithms`: identity 0, deflate 1, gzip 2. */
const packers: Readonly<Record<number, { readonly name: string; readonly pack: Packer } | undefined>> = {
  1: { name: "deflate", pack: deflate },
  2: { name: "gzip", pack: gzip },
};

export function packerOf(algorithm: unknown): { readonly name: string; readonly pack: Packer } | undefined {
  return typeof algorithm === "number" ? packers[algorithm] : undefined;
}

/** Whether we can read messages of this `grpc-encoding`. */
export function isKnownEncoding(encoding: string): boolean {
  return encoding === "gzip" || encoding === "deflate";
}

/**
 * Unpacks a message, at most to `maxBytes` (-1: no limit): a small message may claim to be a huge one (CVE class 21). `done` gets `"large"`
 * for one that is, an error for one that cannot be read.
 */
export function unpack(
  encoding: string,
  bytes: Buffer,
  maxBytes: number,
  done: (result: Buffer | "large" | Error) => void,
): void {
  const options = maxBytes >= 0 ? { maxOutputLength: Math.max(1, maxBytes) } : {};
  const finish = (error: Error | null, result: Buffer): void => {
    if (error === null) done(result);
    else done((error as NodeJS.ErrnoException).code === "ERR_BUFFER_TOO_LARGE" ? "large" : error);
  };
  if (encoding === "gzip") gunzip(bytes, options, finish);
  else inflate(bytes, options, finish);
}
