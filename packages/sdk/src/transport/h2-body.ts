import type { BodyValue } from "./body.ts";
import type { BodyWriter } from "./stream-body.ts";

/** A body as HTTP/2 sends it: what is in memory as one piece, everything else as it comes. */
export interface SendableBody {
  /** `null`: there is none, and the head is the whole request. */
  readonly source: Uint8Array | AsyncIterable<unknown> | Iterable<unknown> | null;
  /** Bytes, where that is known. */
  readonly length: number | undefined;
  /** Of a form or a blob, which say themselves what they are. */
  readonly type: string | undefined;
}

/** What undici takes as a body, in the terms above. */
export function sendable(value: BodyValue): SendableBody {
  const plain = (source: SendableBody["source"], length?: number, type?: string): SendableBody => ({
    source,
    length,
    type,
  });
  if (value === null || value === undefined) return plain(null);
  if (typeof value === "string" || ArrayBuffer.isView(value) || value instanceof ArrayBuffer) {
    const bytes = bytesOf(value);
    return plain(bytes, bytes.byteLength);
  }
  if (value instanceof Blob) return plain(value.stream(), value.size, value.type || undefined);
  if ("append" in value) {
    // A form is written down as the platform writes it.
    const { body, headers } = new Response(value as unknown as FormData);
    return plain(body, undefined, headers.get("content-type") ?? undefined);
  }
  return plain(value as AsyncIterable<unknown> | Iterable<unknown>);
}

/** Writes a body that comes piece by piece, each when there is room for it. `over`: nobody wants the rest. */
export async function pump(
  source: AsyncIterable<unknown> | Iterable<unknown>,
  writer: BodyWriter,
  over: () => boolean,
  failed: (error: Error) => void,
): Promise<void> {
  try {
    for await (const chunk of source) {
      if (over()) return;
      const bytes = bytesOf(chunk);
      await new Promise<void>((resolve) => writer.write(bytes, resolve));
      if (over()) return;
    }
    writer.end();
  } catch (thrown) {
    if (!over()) failed(thrown instanceof Error ? thrown : new Error(String(thrown)));
  }
}

function bytesOf(chunk: unknown): Buffer {
  if (typeof chunk === "string") return Buffer.from(chunk);
  if (chunk instanceof ArrayBuffer) return Buffer.from(chunk);
  if (ArrayBuffer.isView(chunk)) return Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength);
  throw new TypeError("a body is made of text and bytes");
}
