import http2 from "node:http2";
import { type Clock, type EndpointConfig } from "@trama/engine";
import { request } from "undici";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";

import { makeCertificate, spiffe } from "../../../test/kit/certs.ts";
import { testIdentity } from "../../../test/kit/identity.ts";
import { leakCheck } from "../../../test/kit/leak-check.ts";
import { listening } from "../../../test/kit/listening.ts";
import {
  type ClusterOptions,
  cluster,
  endpoint,
  forward,
  listener,
  meshConfig,
  retryPolicy,
  route,
} from "../../../test/kit/mesh-config.ts";
import { createClock } from "../src/env/clock.ts";
import { clientWorld, mutualTls } from "./client-world.ts";

// What is refused on our side of an HTTP/2 connection, before a stream begins.

const closers: (() => unknown)[] = [];
let noLeaks: () => Promise<void>;
beforeAll(() => void (noLeaks = leakCheck()));
afterEach(async () => {
  for (const close of closers.splice(0).toReversed()) await close();
});
afterAll(() => noLeaks());

async function serve(server: http2.Http2Server | http2.Http2SecureServer): Promise<EndpointConfig> {
  const { address, close } = await listening(server);
  closers.push(close);
  return endpoint(address);
}

type Ask = (headers: Record<string, string>) => Promise<unknown>;

/** Calls `reviews`, whose policy repeats what was refused twice. */
function caller(
  to: EndpointConfig,
  options: ClusterOptions = {},
  ...as: [identity?: Parameters<typeof clientWorld>[1], clock?: Clock]
): Ask {
  const retry = retryPolicy({ retryOn: ["refused-stream", "reset"], retries: 2, backoffBaseMs: 1, backoffMaxMs: 2 });
  const config = meshConfig({
    outbound: [listener("reviews:80", [route(forward("c", { retry }))])],
    clusters: [cluster("c", { endpoints: [to], http2: true, ...options })],
  });
  const client = clientWorld(config, as[0], undefined, as[1]);
  closers.push(() => client.close());
  return (headers) =>
    request("http://reviews/", { headers, dispatcher: client.dispatcher }).then(
      async ({ body }) => await body.text(),
      (error: unknown) => error,
    );
}

test("a head that is too large to be sent is the request's own fault: it is not tried, and its connection lives", async () => {
  let streams = 0;
  let sessions = 0;
  const server = http2.createServer({ settings: { maxHeaderListSize: 20_000 } });
  server.on("session", () => sessions++);
  server.on("stream", (stream) => {
    streams++;
    stream.respond({ ":status": 200 });
    stream.end("ok");
  });
  const ask = caller(await serve(server));
  expect(await ask({ "x-big": "z" })).toBe("ok");
  // What the server said that it takes, and what Node could send at most.
  for (const length of [20_000, 70_000, 1_000_000])
    expect(await ask({ "x-big": "z".repeat(length) })).toMatchObject({
      code: "BAD_REQUEST",
      sent: false,
      message: expect.stringMatching(
        /127\.0\.0\.1:\d+: a request head of \d+ bytes in \d+ fields is too large/,
      ) as string,
    });
  expect(await ask({ "x-big": "z".repeat(19_000) })).toBe("ok");
  expect([streams, sessions]).toEqual([2, 1]);
});

test("a certificate that has no time left is an error, not a reason to connect again and again", async () => {
  const root = makeCertificate("root");
  const [web, reviews] = [testIdentity(root, "shop", "web"), testIdentity(root, "shop", "reviews")];
  web.renew({ notAfterMs: Date.now() + 30 * 86_400_000 });
  const { keyPem: key, chainPem: cert, rootsPem } = reviews.current;
  let connections = 0;
  const server = http2.createSecureServer({ key, cert, ca: [...rootsPem], requestCert: true });
  server.on("connection", () => connections++);
  // Our clock is ahead of the one by which the handshake is judged, as after a jump.
  const real = createClock();
  closers.push(() => real.close());
  const ahead: Clock = { ...real, wall: () => Date.now() + 2 * 86_400_000 };
  const ask = caller(await serve(server), { tls: mutualTls(spiffe("shop", "reviews")) }, web, ahead);
  expect(await ask({})).toMatchObject({
    code: "TLS_FAILED",
    sent: false,
    message: expect.stringContaining("by our clock the server's certificate ends") as string,
  });
  // Once, and twice by the policy.
  expect(connections).toBe(3);
});
