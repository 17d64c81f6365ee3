import fc from "fast-check";
import { expect, test } from "vitest";

import { keptByReplays, ReplayBody } from "./replay-body.ts";

async function* chunks(sizes: readonly number[]): AsyncGenerator<Uint8Array> {
  for (const [i, size] of sizes.entries()) {
    await Promise.resolve();
    yield new Uint8Array(size).fill(i);
  }
}

const whole = (sizes: readonly number[]): Buffer => Buffer.concat(sizes.map((size, i) => new Uint8Array(size).fill(i)));

/** Reads so many chunks, or all, and leaves as an attempt does that was given up. */
async function read(body: ReplayBody, most = Infinity): Promise<Buffer> {
  const seen: Uint8Array[] = [];
  for await (const chunk of body) {
    seen.push(chunk);
    if (seen.length >= most) break;
  }
  return Buffer.concat(seen);
}

test("whatever earlier attempts had read, the next one reads it all, from the first byte", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.integer({ min: 0, max: 5_000 }), { maxLength: 12 }),
      fc.array(fc.integer({ min: 1, max: 12 }), { maxLength: 4 }),
      async (sizes, stops) => {
        const body = new ReplayBody(chunks(sizes));
        for (const stop of stops) {
          const part = await read(body, stop);
          expect(part.equals(whole(sizes).subarray(0, part.length))).toBe(true);
        }
        expect(body.replayable).toBe(true);
        expect((await read(body)).equals(whole(sizes))).toBe(true);
        body.release();
        expect(keptByReplays()).toBe(0);
      },
    ),
  );
});

test("past a megabyte it is passed on and no longer kept", async () => {
  const sizes = [600_000, 600_000, 3];
  const body = new ReplayBody(chunks(sizes));
  expect((await read(body)).equals(whole(sizes))).toBe(true);
  expect([body.replayable, keptByReplays()]).toEqual([false, 0]);
  body.release();
});

test("an attempt that was overtaken never ends as if the body were whole", async () => {
  const body = new ReplayBody(chunks([1, 2, 3]));
  const first = body[Symbol.asyncIterator]();
  await first.next();
  expect(await read(body)).toHaveLength(6);
  await expect(first.next()).rejects.toThrow("another attempt");
  const late = body[Symbol.asyncIterator]();
  await late.next();
  body.release();
  await expect(late.next()).rejects.toThrow("nobody any more");
});

test("the source's own error reaches every attempt", async () => {
  const reason = new Error("the disk is gone");
  const body = new ReplayBody(
    (async function* () {
      yield new Uint8Array(1);
      await Promise.resolve();
      throw reason;
    })(),
  );
  await expect(read(body)).rejects.toBe(reason);
  await expect(read(body)).rejects.toBe(reason);
  body.release();
});

test("two attempts wait for one chunk: none is lost", async () => {
  const { promise, resolve } = Promise.withResolvers<void>();
  const body = new ReplayBody(
    (async function* () {
      await promise;
      yield new Uint8Array(4);
    })(),
  );
  const first = body[Symbol.asyncIterator]().next();
  first.catch(() => {});
  const second = read(body);
  resolve();
  expect(await second).toHaveLength(4);
  await expect(first).rejects.toThrow();
  body.release();
});
