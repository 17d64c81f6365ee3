import { once } from "node:events";
import http, { type ClientRequest, type IncomingMessage } from "node:http";
import type { Dispatcher } from "undici";
import { expect, test } from "vitest";

import { DirectCall } from "./direct-call.ts";
import { PipeSocket } from "./pipe-socket.ts";

/** A request of Node's client whose answer the test writes. */
function exchange(method = "GET") {
  const said: string[] = [];
  const controller = {
    aborted: false,
    paused: false,
    reason: null,
    rawHeaders: null,
    abort: (reason: Error) => void said.push(`abort: ${reason.message}`),
    pause: () => void said.push("pause"),
    resume: () => void said.push("resume"),
  } as unknown as Dispatcher.DispatchController;
  const [client] = PipeSocket.pair({}, {});
  const call = new DirectCall(client, method);
  client.intake = { take: () => true, wanted: () => call.wanted(), gone: () => call.gone() };
  const request: ClientRequest = http.request({ method, createConnection: () => client.socket });
  request.end();
  call.onRequestStart(controller);
  return { said, controller, client, call, request };
}

async function answerOf(request: ClientRequest): Promise<{ response: IncomingMessage; text: string }> {
  const [response] = (await once(request, "response")) as [IncomingMessage];
  let text = "";
  response.on("data", (chunk: Buffer) => (text += chunk.toString()));
  await once(response, "end");
  return { response, text };
}

test("a body of known length ends with its last byte, one of unknown length with the answer, with what stands behind it", async () => {
  const known = exchange();
  const first = answerOf(known.request);
  await once(known.request, "finish");
  known.call.onResponseStart(known.controller, 200, { "content-length": "3", connection: "close" }, "Fine");
  known.call.onResponseData(known.controller, Buffer.from("abc"));
  expect(await first).toMatchObject({
    text: "abc",
    response: { statusMessage: "Fine", headers: { connection: "keep-alive" } },
  });
  expect(known.call.over).toBe(true);

  const unknown = exchange();
  const second = answerOf(unknown.request);
  await once(unknown.request, "finish");
  unknown.call.onResponseStart(unknown.controller, 200, { "set-cookie": ["a", "b"] });
  for (const piece of ["ab", "", "c"]) unknown.call.onResponseData(unknown.controller, Buffer.from(piece));
  unknown.call.onResponseEnd(unknown.controller, { sum: "1" });
  expect(await second).toMatchObject({
    text: "abc",
    response: { trailers: { sum: "1" }, headers: { "set-cookie": ["a", "b"] } },
  });
});

test.each([
  ["HEAD", 200, { "content-length": "3" }],
  ["GET", 204, {}],
  ["GET", 304, { "content-length": "3" }],
] as const)("an answer to %s of %i has no body", async (method, status, headers) => {
  const { call, controller, request } = exchange(method);
  const answer = answerOf(request);
  await once(request, "finish");
  call.onResponseStart(controller, 103, { link: "</a>" });
  call.onResponseStart(controller, status, headers);
  call.onResponseEnd(controller, {});
  expect((await answer).response.statusCode).toBe(status);
});

test.each([
  ["abcd", "longer"],
  ["ab", "shorter"],
])("%s for a length of 3 ends the connection, and is never read as the next answer", async (bytes, why) => {
  const { call, controller, request, client } = exchange();
  const failed = new Promise<Error>((resolve) => {
    request.on("response", (response: IncomingMessage) => response.on("error", resolve).resume());
  });
  await once(request, "finish");
  call.onResponseStart(controller, 200, { "content-length": "3" });
  call.onResponseData(controller, Buffer.from(bytes));
  call.onResponseEnd(controller, {});
  expect(client.destroyed).toBe(true);
  expect(String((await failed).cause)).toContain(why);
});

test("a field with a line break is refused, whoever made it", () => {
  const { call, controller, request } = exchange();
  request.on("error", () => {});
  for (const headers of [{ "x-a": "b\r\nset-cookie: c" }, { "x-a\r\nb": "c" }])
    expect(() => call.onResponseStart(controller, 200, headers)).toThrow(TypeError);
  expect(() => call.onResponseStart(controller, 200, {}, "OK\r\n")).toThrow(TypeError);
  request.destroy();
});

test("who reads slowly holds the answer up, and who leaves ends it", async () => {
  const { call, controller, request, said } = exchange();
  const arrived = once(request, "response") as Promise<[IncomingMessage]>;
  await once(request, "finish");
  call.onResponseStart(controller, 200, {});
  const [response] = await arrived;
  for (let i = 0; i < 8 && !said.includes("pause"); i++) call.onResponseData(controller, Buffer.alloc(64 * 1024));
  expect(said).toContain("pause");
  said.length = 0;
  response.resume();
  await once(response, "data");
  while (!said.includes("resume")) await new Promise((resolve) => setImmediate(resolve));
  said.length = 0;
  response.on("error", () => {});
  request.destroy();
  expect(said).toEqual(["abort: the caller closed its connection"]);
  expect(call.over).toBe(true);
});
