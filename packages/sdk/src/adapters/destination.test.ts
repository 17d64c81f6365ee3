import { expect, test } from "vitest";

import { Destinations } from "./destination.ts";

test("the listener is host and port in one spelling, whatever the URL's", () => {
  const destinations = new Destinations();
  for (const [origin, listener, host] of [
    ["http://reviews", "reviews:80", "reviews"],
    ["http://Reviews.Shop:9080", "reviews.shop:9080", "reviews.shop:9080"],
    ["https://reviews", "reviews:443", "reviews"],
    ["http://reviews.shop.:80", "reviews.shop:80", "reviews.shop."],
    ["http://user:secret@reviews/path", "reviews:80", "reviews"],
    ["http://[2001:DB8::1]:80", "[2001:db8::1]:80", "[2001:db8::1]"],
  ] as const)
    expect(destinations.of(origin), origin).toMatchObject({ listener, host });
  expect(destinations.of(new URL("http://reviews"))).toBe(destinations.of("http://reviews/"));
});

test("loopback in every spelling, and nothing that only looks like it", () => {
  const destinations = new Destinations();
  for (const origin of [
    "http://localhost",
    "http://a.localhost",
    "http://127.0.0.1",
    "http://127.1",
    "http://0x7f000001",
    "http://2130706433",
    "http://[::1]",
  ])
    expect(destinations.of(origin).loopback, origin).toBe(true);
  for (const origin of ["http://127.0.0.1.example", "http://localhost.example", "http://128.0.0.1", "http://[::2]"])
    expect(destinations.of(origin).loopback, origin).toBe(false);
});

test("what is no http origin is refused", () => {
  for (const origin of [undefined, "", "reviews", "ftp://reviews", "http://a b"])
    expect(() => new Destinations().of(origin)).toThrow(TypeError);
});
