import fc from "fast-check";
import { expect, test } from "vitest";

import { frameMessage, MessageReader } from "./grpc-frames.ts";

test("messages survive any way in which their bytes are cut", () => {
  const message = fc.record({ bytes: fc.uint8Array({ maxLength: 40_000 }), compressed: fc.boolean() });
  fc.assert(
    fc.property(
      fc.array(message, { maxLength: 8 }),
      fc.array(fc.integer({ min: 1, max: 20_000 })),
      (messages, cuts) => {
        const wire = Buffer.concat(messages.flatMap(({ bytes, compressed }) => frameMessage(bytes, compressed)));
        const reader = new MessageReader(-1);
        const read: { bytes: Buffer; compressed: boolean }[] = [];
        for (let at = 0, i = 0; at < wire.length; i++) {
          const size = cuts[i % cuts.length] ?? wire.length;
          expect(reader.read(wire.subarray(at, at + size), (each) => read.push(each))).toBeUndefined();
          at += size;
        }
        expect(reader.complete).toBe(true);
        expect(read.map(({ bytes, compressed }) => [bytes.toString("latin1"), compressed])).toEqual(
          messages.map(({ bytes, compressed }) => [Buffer.from(bytes).toString("latin1"), compressed]),
        );
      },
    ),
    { numRuns: 100, seed: 5 },
  );
});

test("a message past the limit is refused by its length, before its bytes come", () => {
  const reader = new MessageReader(10);
  const read: unknown[] = [];
  expect(reader.read(Buffer.from([0, 0, 0, 0]), (each) => read.push(each))).toBeUndefined();
  expect(reader.complete).toBe(false);
  expect(reader.read(Buffer.from([11]), (each) => read.push(each))).toBe(11);
  expect(read).toEqual([]);
});
