/** One resource as it came from the control plane. */
export interface KeptResource {
  readonly typeUrl: string;
  readonly name: string;
  /** As delta xDS has it, for `initial_resource_versions` (R22); empty when the server gave none of its own. */
  readonly version: string;
  readonly bytes: Uint8Array;
  /** Until when it was known to be in force: milliseconds since the epoch. */
  readonly knownMs: number;
}

/** A configuration, and to whom it was issued by whom. */
export interface Kept {
  readonly identity: string;
  readonly server: string;
  readonly resources: readonly KeptResource[];
}

/** Grows by one with each change that an older release could not read. */
const format = "trama-last-good 1";

const newline = 0x0a;

/**
 * Three parts: a line with the format and the SHA-256 of all that follows, a line of JSON that says what there is, and the resources'
 * bytes one after the other, as they came. Off the event loop, but for one copy.
 */
export async function encodeKept({ identity, server, resources }: Kept): Promise<Uint8Array> {
  const index = resources.map((one) => [one.typeUrl, one.name, one.version, one.knownMs, one.bytes.length]);
  const head = Buffer.from(`${JSON.stringify({ identity, server, resources: index })}\n`);
  const body = Buffer.concat([head, ...resources.map((one) => one.bytes)]);
  return Buffer.concat([Buffer.from(`${format} ${await sha256(body)}\n`), body]);
}

/** Throws an Error whose message says why this is of no use. */
export async function decodeKept(bytes: Uint8Array): Promise<Kept> {
  const buffer = Buffer.from(bytes.buffer as ArrayBuffer, bytes.byteOffset, bytes.length);
  const firstEnd = buffer.indexOf(newline);
  const first = buffer.toString("latin1", 0, Math.max(0, firstEnd));
  if (!first.startsWith(`${format} `)) {
    throw new Error(/^trama-last-good \d+ /.test(first) ? "another release of trama wrote it" : "it is not ours");
  }
  const body = buffer.subarray(firstEnd + 1);
  if (first !== `${format} ${await sha256(body)}`) throw new Error("it is damaged: the checksum is another");
  const headEnd = body.indexOf(newline);
  const head = JSON.parse(body.toString("utf8", 0, headEnd)) as Head;
  let at = headEnd + 1;
  const resources = head.resources.map(([typeUrl, name, version, knownMs, length]) => {
    const end = at + length;
    const one: KeptResource = { typeUrl, name, version, knownMs, bytes: body.subarray(at, end) };
    at = end;
    return one;
  });
  if (at !== body.length) throw new Error("it is damaged: its parts do not add up");
  return { identity: head.identity, server: head.server, resources };
}

/** Behind the checksum, so it is what we wrote. */
interface Head {
  readonly identity: string;
  readonly server: string;
  readonly resources: readonly (readonly [string, string, string, number, number])[];
}

async function sha256(bytes: Uint8Array<ArrayBuffer>): Promise<string> {
  return Buffer.from(await crypto.subtle.digest("SHA-256", bytes)).toString("hex");
}
