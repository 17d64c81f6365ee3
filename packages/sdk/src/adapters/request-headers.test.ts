import { expect, test } from "vitest";

import { requestHeaders } from "./request-headers.ts";

test("every form that undici takes gives the same fields", () => {
  const fields = ["host", "reviews", "accept", "*/*", "x-n", "1", "x-list", "a", "x-list", "b"];
  const record = { accept: "*/*", "x-n": 1, "x-list": ["a", "b"], "x-none": undefined };
  expect(requestHeaders(record as never, "reviews", "")).toEqual(fields);
  expect(requestHeaders(["accept", "*/*", "x-n", "1", "x-list", ["a", "b"]] as never, "reviews", "")).toEqual(fields);
  expect(
    requestHeaders(
      new Map<string, string | string[]>([
        ["accept", "*/*"],
        ["x-n", "1"],
        ["x-list", ["a", "b"]],
      ]) as never,
      "reviews",
      "",
    ),
  ).toEqual(fields);
  expect(requestHeaders(undefined, "reviews", "")).toEqual(["host", "reviews"]);
  expect(requestHeaders(null, "reviews", "me")).toEqual(["host", "reviews", "x-trama-peer", "me"]);
});

test("the application's Host replaces ours, and its peer header goes", () => {
  expect(requestHeaders({ Host: "other", "X-Trama-Peer": "forged" }, "reviews", "me")).toEqual([
    "host",
    "other",
    "x-trama-peer",
    "me",
  ]);
});

test("what is inherited is no header, and what is no text is refused", () => {
  expect(requestHeaders(Object.create({ inherited: "x" }) as Record<string, string>, "reviews", "")).toEqual([
    "host",
    "reviews",
  ]);
  for (const wrong of ["text", ["odd"], { "x-a": {} }, { "x-a": () => "" }, { "x-a": Symbol("s") }])
    expect(() => requestHeaders(wrong as never, "reviews", "")).toThrow(TypeError);
});
