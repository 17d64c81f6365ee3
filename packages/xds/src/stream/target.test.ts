import { expect, test } from "vitest";

import { parseTarget } from "./target.ts";

test.each([
  ["istiod:15012", "istiod", 15012, "istiod:15012"],
  ["dns:istiod.istio-system.svc:15012", "istiod.istio-system.svc", 15012, "istiod.istio-system.svc:15012"],
  ["dns:///istiod:15012", "istiod", 15012, "istiod:15012"],
  ["trafficdirector.googleapis.com", "trafficdirector.googleapis.com", 443, "trafficdirector.googleapis.com"],
  ["127.0.0.1:1", "127.0.0.1", 1, "127.0.0.1:1"],
  ["ipv4:10.0.0.1:80", "10.0.0.1", 80, "10.0.0.1:80"],
  ["[::1]:1", "::1", 1, "[::1]:1"],
  ["ipv6:[2001:db8::1]:80", "2001:db8::1", 80, "[2001:db8::1]:80"],
])("%s", (uri, host, port, authority) => {
  expect(parseTarget(uri)).toEqual({ dial: { host, port }, host, authority });
});

test.each([
  ["unix:///etc/istio/proxy/XDS", "/etc/istio/proxy/XDS"],
  ["unix:/run/xds", "/run/xds"],
  ["unix:run/xds", "run/xds"],
])("%s", (uri, path) => {
  expect(parseTarget(uri)).toEqual({ dial: { path }, host: "localhost", authority: "localhost" });
});

test.each([
  "",
  "unix:",
  "xds:///listener",
  "dns://8.8.8.8/istiod:1",
  "https://istiod:1",
  "ipv4:10.0.0.1:1,10.0.0.2:1",
  "ipv4:host:1",
  "ipv6:10.0.0.1:1",
  "[host]:1",
  "::1",
  "host:0",
  "host:65536",
  "user@host:1",
])("no server: %j", (uri) => {
  expect(parseTarget(uri)).toBeUndefined();
});
