import { Readable } from "node:stream";
import { expect, test } from "vitest";

import { type BodyValue, HttpBody } from "./body.ts";

class Body extends HttpBody {
  readonly authority = "a";
  readonly headersTimeout = null;
  readonly bodyTimeout = null;
  readonly upgrade = null;
  readonly trailers = undefined;
  readonly value: BodyValue;

  constructor(value: BodyValue) {
    super();
    this.value = value;
  }

  informed(): void {}
  failed(): void {}
  switched(): void {}
}

test("a body that comes piece by piece says how far it is, once somebody watches it", async () => {
  const body = new Body(Readable.from(["a", "b"]));
  // Nobody does: it goes out as it is.
  expect(body.wire).toBe(body.value);
  expect(body.isOpen()).toBe(false);
  expect(body.moved()).toBe(0);
  expect(body.isOpen()).toBe(true);
  const seen: unknown[] = [];
  for await (const piece of body.wire as AsyncIterable<string>) seen.push(piece, body.moved());
  expect(seen).toEqual(["a", 1, "b", 2]);
  expect(body.isOpen()).toBe(false);
});

test("what is in memory is whole, watched or not", () => {
  const body = new Body("text");
  expect(body.moved()).toBe(0);
  expect(body.isOpen()).toBe(false);
  expect(body.wire).toBe("text");
});
