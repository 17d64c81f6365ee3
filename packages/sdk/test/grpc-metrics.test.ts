import { once } from "node:events";
import type { ClientDuplexStream, ServerDuplexStream } from "@grpc/grpc-js";
import type { MeshMetrics } from "@trama/engine";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";

import { makeCertificate, spiffe } from "../../../test/kit/certs.ts";
import { testIdentity } from "../../../test/kit/identity.ts";
import { leakCheck } from "../../../test/kit/leak-check.ts";
import { cluster, endpoint, forward, listener, meshConfig, route } from "../../../test/kit/mesh-config.ts";
import { mutualTls } from "./client-world.ts";
import { grpcServerWorld } from "./grpc-server-world.ts";
import { grpcWorld, none } from "./grpc-world.ts";

const root = makeCertificate("root");

let noLeaks: () => Promise<void>;
const closers: (() => unknown)[] = [];
beforeAll(() => void (noLeaks = leakCheck()));
afterEach(async () => {
  for (const close of closers.splice(0).toReversed()) await close();
});
afterAll(() => noLeaks());

/** Requests and responses, by `request_operation`. */
function messages(metrics: MeshMetrics): Record<string, number[]> {
  const counts: Record<string, number[]> = {};
  for (const name of ["istio_request_messages_total", "istio_response_messages_total"]) {
    const family = metrics.collect().find((each) => each.name === name);
    if (family?.type !== "counter") throw new Error(name);
    for (const { labels, value } of family.series) (counts[labels["request_operation"]!] ??= []).push(value);
  }
  return counts;
}

test("the messages of an open stream are counted on both sides while it is open, by method", async () => {
  const reviews = await grpcServerWorld(
    {
      ...none,
      Chat: (call: ServerDuplexStream<string, string>) => {
        call.on("data", (each: string) => {
          call.write(each);
          call.write(each);
        });
        call.on("end", () => call.end());
      },
    },
    testIdentity(root, "shop", "reviews"),
  );
  closers.push(() => reviews.close());
  reviews.publish("STRICT");
  const web = grpcWorld(
    meshConfig({
      outbound: [listener("reviews:9090", [route(forward("c"))])],
      clusters: [cluster("c", { endpoints: [endpoint(reviews.address)], tls: mutualTls(spiffe("shop", "reviews")) })],
    }),
    testIdentity(root, "shop", "web"),
  );
  closers.push(() => web.close());
  const chat = (web.connect()["Chat"] as Function)() as ClientDuplexStream<string, string>;
  const ended = once(chat, "status");
  chat.write("one");
  await once(chat, "data");
  await once(chat, "data");
  expect(messages(web.metrics)).toEqual({ "shop.Reviews/Chat": [1, 2] });
  expect(messages(reviews.metrics)).toEqual({ "shop.Reviews/Chat": [1, 2] });
  const [open] = web.metrics.collect();
  expect(open!.series).toEqual([]);
  chat.end("two");
  chat.resume();
  await ended;
  await expect.poll(() => reviews.ended.length).toBe(1);
  for (const { metrics } of [web, reviews]) {
    expect(messages(metrics)).toEqual({ "shop.Reviews/Chat": [2, 4] });
    expect(metrics.collect()[0]!.series).toMatchObject([
      { labels: { request_operation: "shop.Reviews/Chat", grpc_response_status: "0" }, value: 1 },
    ]);
  }
});
