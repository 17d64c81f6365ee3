import { expect, test } from "vitest";

import { requestHeaders } from "./request-headers.ts";

test("every form that undici takes gives the same fields", () => {
  const fields = ["host", "reviews", "accept", "*/*", "x-n", "1", "x-list", "a", "x-list", "b"];
  const record = { accept: "*/*", "x-n": 1, "x-list": ["a", "b"], "x-none": undefined };
  expect(requestHeaders(record as never, "reviews")).toEqual(fields);
  expect(requestHeaders(["accept", "*/*", "x-n", "1", "x-list", ["a", "b"]] as never, "reviews")).toEqual(fields);
  expect(
    requestHeaders(
      new Map<string, string | string[]>([
        ["accept", "*/*"],
        ["x-n", "1"],
        ["x-list", ["a", "b"]],
      ]) as never,
      "reviews",
    ),
  ).toEqual(fields);
  expect(requestHeaders(undefined, "reviews")).toEqual(["host", "reviews"]);
  expect(requestHeaders(null, "reviews")).toEqual(["host", "reviews"]);
});

test("the application's Host replaces ours, and what only the mesh may say goes", () => {
  const given = {
    Host: "other",
    "X-Trama-Peer": "forged",
    "x-envoy-attempt-count": "1",
    "X-Envoy-Expected-Rq-Timeout-Ms": "5",
    "x-trama-pear": "kept",
  };
  expect(requestHeaders(given, "reviews")).toEqual(["host", "other", "x-trama-pear", "kept"]);
});

test("what is inherited is no header, and what is no text is refused", () => {
  expect(requestHeaders(Object.create({ inherited: "x" }) as Record<string, string>, "reviews")).toEqual([
    "host",
    "reviews",
  ]);
  for (const wrong of ["text", ["odd"], { "x-a": {} }, { "x-a": () => "" }, { "x-a": Symbol("s") }])
    expect(() => requestHeaders(wrong as never, "reviews")).toThrow(TypeError);
});
