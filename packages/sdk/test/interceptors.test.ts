import http from "node:http";
import { gzipSync } from "node:zlib";
import { type Dispatcher, interceptors, request } from "undici";
import { afterAll, beforeAll, expect, test } from "vitest";

import { leakCheck } from "../../../test/kit/leak-check.ts";
import { listening } from "../../../test/kit/listening.ts";
import { cluster, endpoint, forward, listener, meshConfig, route } from "../../../test/kit/mesh-config.ts";
import { clientWorld } from "./client-world.ts";

// What applications compose above the mesh's dispatcher: undici's interceptors, and others of their kind.

let noLeaks: () => Promise<void>;
beforeAll(() => void (noLeaks = leakCheck()));
afterAll(() => noLeaks());

/** Assigns, as undici's own controller lets it. */
const naming: Dispatcher.DispatcherComposeInterceptor = (dispatch) => (options, handler) =>
  dispatch(options, {
    onRequestStart: (controller, context) => handler.onRequestStart?.(controller, context),
    onResponseStart(controller, ...rest) {
      const names = (controller.rawHeaders as Buffer[]).filter((_, i) => i % 2 === 0).map(String);
      (controller as { rawHeaders: string[] }).rawHeaders = ["names", names.join()];
      handler.onResponseStart?.(controller, ...rest);
    },
    onResponseData: (controller, chunk) => handler.onResponseData?.(controller, chunk),
    onResponseEnd: (controller, trailers) => handler.onResponseEnd?.(controller, trailers),
    onResponseError: (controller, error) => handler.onResponseError?.(controller, error),
  });

test("interceptors may change the raw fields of an answer, in place or as a whole", async () => {
  const server = await listening(
    http.createServer((_incoming, response) => {
      response.setHeader("content-encoding", "gzip");
      response.end(gzipSync("plain"));
    }),
  );
  const client = clientWorld(
    meshConfig({
      outbound: [listener("reviews:80", [route(forward("c"))])],
      clusters: [cluster("c", { endpoints: [endpoint(server.address)] })],
    }),
  );
  try {
    const { body, headers } = await request("http://reviews/", {
      dispatcher: client.dispatcher.compose(interceptors.decompress(), naming),
      responseHeaders: "raw",
    });
    expect(await body.text()).toBe("plain");
    expect(headers).toEqual(["names", expect.stringContaining("Date")]);
  } finally {
    await client.close();
    await server.close();
  }
});
