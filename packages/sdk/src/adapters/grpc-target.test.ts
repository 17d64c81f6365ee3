import fc from "fast-check";
import { expect, test } from "vitest";

import { parseTarget } from "./grpc-target.ts";

test.each([
  ["reviews:9090", "reviews:9090"],
  ["Reviews.shop.svc.Cluster.Local:9090", "reviews.shop.svc.cluster.local:9090"],
  ["reviews.shop.svc.cluster.local.:9090", "reviews.shop.svc.cluster.local:9090"],
  ["reviews", "reviews:443"],
  ["dns:reviews:9090", "reviews:9090"],
  ["dns:///reviews:9090", "reviews:9090"],
  ["dns://8.8.8.8/reviews:9090", "reviews:9090"],
  ["passthrough:///reviews:9090", "reviews:9090"],
  ["DNS:///reviews:9090", "reviews:9090"],
  ["xds:///reviews:9090", "reviews:9090"],
  ["xds://authority/reviews:9090", "reviews:9090"],
  ["10.0.0.7:9090", "10.0.0.7:9090"],
  ["ipv4:10.0.0.7:9090", "10.0.0.7:9090"],
  ["[2001:db8::7]:9090", "[2001:db8::7]:9090"],
  ["ipv6:[2001:DB8::7]:9090", "[2001:db8::7]:9090"],
  ["2001:db8::7", "[2001:db8::7]:443"],
])("%s is %s", (text, listener) => {
  const target = parseTarget(text);
  expect(target).toMatchObject({ text, listener, authority: listener, loopback: false });
  expect(target.meshOnly).toBe(/^xds:/i.test(text));
});

test.each(["localhost:9090", "LOCALHOST:9090", "api.localhost:1", "127.0.0.1:9090", "127.9.8.7:1", "[::1]:9090"])(
  "%s is loopback",
  (text) => expect(parseTarget(text).loopback).toBe(true),
);

test.each(["unix:/run/x.sock", "unix:///run/x.sock", "unix-abstract:x", "vsock:1:2", "ipv4:10.0.0.7:1,10.0.0.8:2", ""])(
  "%s is no host of a mesh",
  (text) => expect(parseTarget(text)).toMatchObject({ listener: "", loopback: true, meshOnly: false }),
);

test("whatever it is, it is read: a listener's name is host:port in lower case, or empty", () => {
  fc.assert(
    fc.property(fc.string({ unit: fc.constantFrom(...Array.from("aZ09.:/[]-%,x ")), maxLength: 24 }), (text) => {
      const { listener } = parseTarget(text);
      expect(listener).toMatch(/^$|^\S+:\d{1,5}$/);
      expect(listener).toBe(listener.toLowerCase());
    }),
    { numRuns: 1_000, seed: 9 },
  );
});
