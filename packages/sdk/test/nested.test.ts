import { once } from "node:events";
import http from "node:http";
import type { AddressInfo } from "node:net";
import type { MeshConfig, RetryPolicy } from "@trama/engine";
import { request } from "undici";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";

import { makeCertificate, spiffe } from "../../../test/kit/certs.ts";
import { testIdentity } from "../../../test/kit/identity.ts";
import { leakCheck } from "../../../test/kit/leak-check.ts";
import { cluster, endpoint, forward, listener, meshConfig, retryPolicy, route } from "../../../test/kit/mesh-config.ts";
import { detached } from "../src/context.ts";
import { type ClientWorld, clientWorld, mutualTls } from "./client-world.ts";
import { grpcServerWorld } from "./grpc-server-world.ts";
import { type Done, get, grpcWorld, none, type Unary } from "./grpc-world.ts";
import { type ServerWorld, serverWorld } from "./server-world.ts";

const root = makeCertificate("root");
const web = testIdentity(root, "shop", "web");
const reviewsIdentity = testIdentity(root, "shop", "reviews");
const upstream = mutualTls(spiffe("shop", "reviews"));

let noLeaks: () => Promise<void>;
const closers: (() => unknown)[] = [];
beforeAll(() => void (noLeaks = leakCheck()));
afterEach(async () => {
  for (const close of closers.splice(0).toReversed()) await close();
});
afterAll(() => noLeaks());

interface Way {
  readonly timeoutMs?: number;
  readonly retry?: Partial<RetryPolicy>;
  readonly plaintext?: boolean;
}

/** Both `reviews:80` and `reviews:9090` at that address. */
function way(address: string, { timeoutMs, retry, plaintext }: Way = {}): MeshConfig {
  const policy = retry === undefined ? undefined : retryPolicy({ backoffBaseMs: 1, backoffMaxMs: 2, ...retry });
  const action = forward("c", { timeoutMs, grpcTimeoutMs: timeoutMs, retry: policy });
  return meshConfig({
    outbound: [listener("reviews:80", [route(action)]), listener("reviews:9090", [route(action)])],
    clusters: [
      cluster("c", {
        endpoints: [endpoint(address)],
        connectTimeoutMs: 2_000,
        tls: plaintext === true ? undefined : upstream,
      }),
    ],
  });
}

async function server(handler: http.RequestListener): Promise<ServerWorld> {
  const made = await serverWorld(http.createServer(handler), { identity: reviewsIdentity });
  closers.push(() => made.close());
  made.publish("PERMISSIVE");
  return made;
}

function client(config: MeshConfig): ClientWorld {
  const made = clientWorld(config, web);
  closers.push(() => made.close());
  return made;
}

async function ask(from: ClientWorld, headers: Record<string, string> = {}): Promise<number> {
  const { statusCode, body } = await request("http://reviews/", { dispatcher: from.dispatcher, headers });
  await body.dump();
  return statusCode;
}

/** A handler that answers when `work` is done. */
function answerBy(work: () => Promise<{ readonly answer: string } | { readonly code: number }>) {
  const answer = async (done: Done): Promise<void> => {
    const result = await work();
    if ("answer" in result) done(null, result.answer);
    else done({ code: result.code, details: "no" });
  };
  return (_call: Unary, done: Done): void => void answer(done);
}

describe("a deadline", () => {
  test("travels HTTP → gRPC → HTTP, and gets shorter at each hop", async () => {
    const store = await server((_incoming, response) => void response.end());
    const toStore = client(way(store.address));
    const ratings = await grpcServerWorld(
      { ...none, Get: answerBy(async () => ({ answer: String(await ask(toStore)) })) },
      reviewsIdentity,
    );
    closers.push(() => ratings.close());
    ratings.publish("STRICT");
    const toRatings = grpcWorld(way(ratings.address), web);
    closers.push(() => toRatings.close());
    const onward = toRatings.connect();
    const front = await server((_incoming, response) => void get(onward).then((answer) => response.end(answer)));
    const outside = client(way(front.address, { timeoutMs: 5_000 }));

    expect(await ask(outside)).toBe(200);
    const ends = [outside, front, toRatings, ratings, toStore, store].map(({ ended }) => ended[0]!.deadlineMs);
    // Between two ends of a wire the time under way is added, so only what a process hands on is compared.
    for (const [before, after] of [
      [1, 2],
      [3, 4],
    ] as const)
      expect(ends[before]! - ends[after]!).toBeCloseTo(10, 3);
    for (const end of ends) expect(end - outside.ended[0]!.record.startMs).toBeLessThan(8_000);

    // The next call on the same connections has none, and none is left over from the one before.
    expect(await ask(client(way(front.address)))).toBe(200);
    for (const { ended } of [front, toRatings, ratings, toStore, store]) expect(ended[1]!.deadlineMs).toBe(Infinity);
  });

  test("that has passed: the nested call is refused unsent", async () => {
    let reached = 0;
    const store = await server((_incoming, response) => {
      reached++;
      response.end();
    });
    const toStore = client(way(store.address));
    const outerEnded = Promise.withResolvers<void>();
    const refused = Promise.withResolvers<unknown>();
    const front = await server((incoming) => {
      const nested = (): void => void ask(toStore).then(refused.reject, refused.resolve);
      incoming.resume().on("close", () => void outerEnded.promise.then(() => setTimeout(nested, 100)));
    });
    // Long enough for the request to arrive, on a busy machine too.
    const outside = client(way(front.address, { timeoutMs: 800 }));
    await expect(ask(outside)).rejects.toMatchObject({ code: "TIMEOUT" });
    outerEnded.resolve();
    expect(await refused.promise).toMatchObject({ code: "TIMEOUT", sent: false });
    expect(reached).toBe(0);
  });

  test("holds for hosts that the mesh does not know, which are not told of it", async () => {
    const seen = Promise.withResolvers<readonly string[]>();
    const stranger = http.createServer((incoming) => seen.resolve(incoming.rawHeaders)).listen(0, "127.0.0.1");
    closers.push(() => {
      stranger.closeAllConnections();
      return new Promise((resolve) => stranger.close(resolve));
    });
    await once(stranger, "listening");
    const mesh = client(way("127.0.0.1:1"));
    const url = `http://127.0.0.1:${(stranger.address() as AddressInfo).port}/`;
    const ended = Promise.withResolvers<unknown>();
    const front = await server(
      () => void request(url, { dispatcher: mesh.dispatcher }).then(ended.reject, ended.resolve),
    );
    await expect(ask(client(way(front.address, { timeoutMs: 800 })))).rejects.toMatchObject({ code: "TIMEOUT" });
    expect(await ended.promise).toMatchObject({ code: "TIMEOUT" });
    expect((await seen.promise).filter((name) => name.startsWith("x-"))).toEqual([]);
  });

  test("ends with the answer: what a handler leaves behind is held to nothing", async () => {
    const store = await server((_incoming, response) => void response.end());
    const toStore = client(way(store.address));
    const late = Promise.withResolvers<number>();
    const front = await server((_incoming, response) => {
      void detached(() => ask(toStore)).then(() => {
        response.end();
        setTimeout(() => void ask(toStore).then(late.resolve, late.reject), 100);
      });
    });
    expect(await ask(client(way(front.address, { timeoutMs: 5_000 })))).toBe(200);
    expect(await late.promise).toBe(200);
    expect(front.ended[0]!.deadlineMs).toBeLessThan(Infinity);
    expect(store.ended.map(({ deadlineMs }) => deadlineMs)).toEqual([Infinity, Infinity]);
  });

  test("is believed of mesh peers only, and a bad one is an error", async () => {
    const front = await server((_incoming, response) => void response.end());
    const open = http.request;
    const plain = (value: string): Promise<number> =>
      new Promise((resolve, reject) => {
        const sent = open({ port: front.port, headers: { "x-envoy-expected-rq-timeout-ms": value } }, (answer) => {
          answer.resume();
          resolve(answer.statusCode!);
        });
        sent.on("error", reject).end();
      });
    for (const value of ["1", "-1", "soon"]) expect(await plain(value)).toBe(200);
    expect(front.ended.map(({ deadlineMs }) => deadlineMs)).toEqual([Infinity, Infinity, Infinity]);
    // An application behind the mesh cannot say it either.
    const peer = client(way(front.address));
    expect(await ask(peer, { "X-Envoy-Expected-Rq-Timeout-Ms": "1", "x-envoy-attempt-count": "7" })).toBe(200);
    expect(front.ended[3]).toMatchObject({ deadlineMs: Infinity, callerAttempt: 1 });
  });
});

describe("a retry further up", () => {
  test("is known all the way down: retries do not multiply", async () => {
    const seen: string[] = [];
    const store = await server((_incoming, response) => {
      response.statusCode = 503;
      response.end();
    });
    const retry = { retryOn: ["5xx"], retries: 2 };
    const toStore = client(way(store.address, { retry }));
    const front = await server((incoming, response) => {
      seen.push(incoming.url!);
      void ask(toStore).then((status) => {
        response.statusCode = status;
        response.end();
      });
    });
    expect(await ask(client(way(front.address, { retry })))).toBe(503);
    expect(seen).toHaveLength(3);
    // Three for the first attempt, two for the second, one for the third; without the rule nine.
    expect(store.ended.map(({ callerAttempt }) => callerAttempt)).toEqual([1, 2, 3, 2, 3, 3]);
    expect(front.ended.map(({ callerAttempt }) => callerAttempt)).toEqual([1, 2, 3]);
  });

  test("is told to gRPC servers, and by them to what they call", async () => {
    const store = await server((_incoming, response) => {
      response.statusCode = 503;
      response.end();
    });
    const toStore = client(way(store.address, { retry: { retryOn: ["5xx"], retries: 2 } }));
    const ratings = await grpcServerWorld(
      {
        ...none,
        Get: answerBy(async () => {
          await ask(toStore);
          return { code: 14 };
        }),
      },
      reviewsIdentity,
    );
    closers.push(() => ratings.close());
    ratings.publish("STRICT");
    const mesh = grpcWorld(way(ratings.address, { retry: { retryOn: ["unavailable"], retries: 1 } }), web);
    closers.push(() => mesh.close());
    await expect(get(mesh.connect())).rejects.toMatchObject({ code: 14 });
    expect(ratings.ended.map(({ callerAttempt }) => callerAttempt)).toEqual([1, 2]);
    expect(store.ended.map(({ callerAttempt }) => callerAttempt)).toEqual([1, 2, 3, 2, 3]);
  });
});
