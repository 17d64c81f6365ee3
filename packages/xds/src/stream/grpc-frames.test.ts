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

test("a large message is whole, whatever its chunks, and a length that is only claimed takes no room", () => {
  const bytes = Buffer.alloc(3_000_001, "0123456789abc");
  const wire = Buffer.concat(frameMessage(bytes, false));
  for (const size of [1_000, 16_384, 700_000, wire.length - 1]) {
    const reader = new MessageReader(-1);
    const read: Buffer[] = [];
    for (let at = 0; at < wire.length; at += size)
      reader.read(wire.subarray(at, at + size), (each) => read.push(each.bytes));
    expect(read).toHaveLength(1);
    expect(read[0]!.equals(bytes)).toBe(true);
  }
  const before = process.memoryUsage().arrayBuffers;
  const readers = Array.from({ length: 50 }, () => new MessageReader(-1));
  for (const reader of readers)
    reader.read(Buffer.from([0, 0xff, 0xff, 0xff, 0xff, 1]), () => expect.unreachable("a message"));
  expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(10_000_000);
});

test("a message past the limit is refused by its length, before its bytes come", () => {
  const reader = new MessageReader(10);
  const read: unknown[] = [];
  expect(reader.read(Buffer.from([0, 0, 0, 0]), (each) => read.push(each))).toBeUndefined();
  expect(reader.complete).toBe(false);
  expect(reader.read(Buffer.from([11]), (each) => read.push(each))).toBe(11);
  expect(read).toEqual([]);
});
