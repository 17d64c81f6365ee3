import { once } from "node:events";
import fc from "fast-check";
import { expect, test } from "vitest";

import { PipeSocket } from "./pipe-socket.ts";

const pair = (): readonly [PipeSocket, PipeSocket] => PipeSocket.pair({ remotePort: 1 }, { remotePort: 2 });

/** Not by iteration, which some versions of Node end by destroying the stream. */
async function all(pipe: PipeSocket): Promise<Buffer> {
  const seen: Buffer[] = [];
  pipe.on("data", (chunk: Buffer) => seen.push(chunk));
  await once(pipe, "end");
  return Buffer.concat(seen);
}

test("bytes arrive whole and in order both ways, however they are written", async () => {
  const writes = fc.array(
    fc.record({ size: fc.integer({ min: 0, max: 40_000 }), cork: fc.boolean(), text: fc.boolean() }),
    { maxLength: 15 },
  );
  await fc.assert(
    fc.asyncProperty(writes, writes, async (there, back) => {
      const ends = pair();
      const sent = [there, back].map((list, side) => {
        const pipe = ends[side]!;
        const bytes = list.map(({ size }, i) => Buffer.alloc(size, String.fromCharCode(65 + (i % 26))));
        for (const [i, chunk] of bytes.entries()) {
          if (list[i]!.cork) pipe.cork();
          if (list[i]!.text) pipe.write(chunk.toString("latin1"), "latin1");
          else pipe.write(chunk);
          if (list[i]!.cork) process.nextTick(() => pipe.uncork());
        }
        setImmediate(() => pipe.end());
        return Buffer.concat(bytes);
      });
      const got = await Promise.all([all(ends[1]), all(ends[0])]);
      expect(got[0].equals(sent[0]!)).toBe(true);
      expect(got[1].equals(sent[1]!)).toBe(true);
      expect(ends[1].bytesRead).toBe(sent[0]!.length);
    }),
    { numRuns: 50 },
  );
});

test("a reader that has stopped holds the writer back", () => {
  const [client, server] = pair();
  let written = 0;
  while (client.write(Buffer.alloc(16 * 1024)) && written < 1_000) written++;
  expect(written).toBeLessThan(20);
  client.destroy();
  server.destroy();
});

test("an end is seen behind all that was written; the server may still answer", async () => {
  const [client, server] = pair();
  client.end("question");
  expect((await all(server)).toString()).toBe("question");
  expect(server.writable).toBe(true);
  server.end("answer");
  expect((await all(client)).toString()).toBe("answer");
});

test("an abrupt end closes the other, and a writer who waits is let go", async () => {
  const [client, server] = pair();
  server.on("error", () => {});
  const waits = new Promise((resolve) => server.write(Buffer.alloc(1_000_000), resolve));
  client.destroy();
  await once(server, "close");
  await waits;
  expect(server.destroyed).toBe(true);
});

test("destroySoon lets what was written arrive", async () => {
  const [client, server] = pair();
  server.write("last words");
  server.destroySoon();
  expect((await all(client)).toString()).toBe("last words");
});

test("silence is told, and speech puts it off", async () => {
  const [client, server] = pair();
  let told = 0;
  client.setTimeout(40, () => told++);
  for (let i = 0; i < 4; i++) {
    await new Promise((resolve) => setTimeout(resolve, 15));
    server.write("x");
  }
  client.resume();
  expect(told).toBe(0);
  await once(client, "timeout");
  expect(told).toBe(1);
  client.setTimeout(0);
  client.destroy();
  server.destroy();
});
