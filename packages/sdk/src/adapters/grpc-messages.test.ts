import type { CopyBudget } from "@trama/engine";
import { expect, test } from "vitest";

import { MessageReader } from "@trama/xds";
import type { BodyWriter } from "../transport/stream-body.ts";
import { OutboundMessages } from "./grpc-messages.ts";

/** What a peer reads; `room: false` never makes room for the next message. */
function peer(room = true) {
  const read: string[] = [];
  const reader = new MessageReader(-1);
  const state = { ended: false, read };
  const writer: BodyWriter = {
    write(chunk, done) {
      reader.read(chunk, ({ bytes }) => read.push(bytes.toString()));
      if (room) done?.();
    },
    end: () => void (state.ended = true),
  };
  return { read, state, writer };
}

function budget(most: number) {
  const state = { held: 0, lost: 0 };
  const copies: CopyBudget = {
    take: (bytes) => state.held + bytes <= most && ((state.held += bytes), true),
    give: (bytes) => void (state.held -= bytes),
    lost: () => void state.lost++,
  };
  return { state, copies };
}

const messages = (): OutboundMessages => new OutboundMessages("reviews", "reviews", undefined, undefined);

test("a copy gets what was written before and after it was made, each message once, and the end", () => {
  const { state, copies } = budget(1_000);
  const body = messages();
  body.add(Buffer.from("one"), 0, undefined);
  const copy = body.copy(copies)!;
  body.add(Buffer.from("two"), 0, undefined);
  const [main, mirror] = [peer(), peer()];
  body.attach(main.writer);
  copy.attach(mirror.writer);
  body.add(Buffer.from("three"), 0, undefined);
  expect(mirror.state.ended).toBe(false);
  body.halfClose();
  expect([main.read, mirror.read]).toEqual([
    ["one", "two", "three"],
    ["one", "two", "three"],
  ]);
  expect([main.state.ended, mirror.state.ended, state]).toEqual([true, true, { held: 0, lost: 0 }]);
  expect(copy.canReplay()).toBe(false);
});

test("a mirror that takes nothing loses its copy, and the call goes on", () => {
  const { state, copies } = budget(10);
  const body = messages();
  const copy = body.copy(copies)!;
  const main = peer();
  body.attach(main.writer);
  copy.attach(peer(false).writer);
  for (let i = 0; i < 4; i++) body.add(Buffer.from("12345"), 0, undefined);
  expect(main.read).toHaveLength(4);
  expect(state).toEqual({ held: 10, lost: 2 });
});

test("a call that ends before its last message was written ends its copy", () => {
  const { state, copies } = budget(10);
  const body = messages();
  body.copy(copies);
  body.close();
  expect(state.lost).toBe(1);
});
