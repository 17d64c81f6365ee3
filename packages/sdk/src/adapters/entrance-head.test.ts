import { once } from "node:events";
import http from "node:http";
import { type AddressInfo, connect } from "node:net";
import fc from "fast-check";
import { expect, test } from "vitest";

import { wholeRequest } from "./entrance-head.ts";

const read = (text: string, ...more: string[]) =>
  wholeRequest(
    text,
    "latin1",
    more.map((chunk) => ({ chunk, encoding: "utf8" as const })),
  );
const get = (fields: string, line = "GET /a?b HTTP/1.1") => read(`${line}\r\n${fields}\r\n`);

test("what Node writes for a plain request is read; fields of the connection stay behind", () => {
  expect(get("Host: a:1\r\nX-Y: a  b\r\nX-Y: c\r\nEmpty: \r\nConnection: keep-alive\r\n")).toEqual({
    method: "GET",
    path: "/a?b",
    fields: ["Host", "a:1", "X-Y", "a  b", "X-Y", "c", "Empty", ""],
    body: null,
  });
  const post = "POST / HTTP/1.1\r\nContent-Length: 6\r\n\r\n";
  for (const pieces of [[`${post}abcdef`], [post, "abcdef"], [`${post}ab`, "cd", "ef"]]) {
    const [first, ...more] = pieces as [string, ...string[]];
    expect(read(first, ...more)?.body?.toString()).toBe("abcdef");
  }
});

test.each([
  ["a body that is still to come", "POST / HTTP/1.1", "Content-Length: 6\r\n"],
  ["a body without a length", "POST / HTTP/1.1", "Transfer-Encoding: chunked\r\n"],
  ["two lengths", "POST / HTTP/1.1", "Content-Length: 0\r\ncontent-length: 0\r\n"],
  ["a length that is no number", "POST / HTTP/1.1", "Content-Length: +0\r\n"],
  ["Expect", "GET / HTTP/1.1", "eXpect: 100-continue\r\n"],
  ["a switch of protocols", "GET / HTTP/1.1", "Connection: Upgrade\r\nUpgrade: websocket\r\n"],
  ["a connection that ends", "GET / HTTP/1.1", "Connection: close\r\n"],
  ["a field named by Connection", "GET / HTTP/1.1", "Connection: keep-alive, x-y\r\n"],
  ["CONNECT", "CONNECT a:1 HTTP/1.1", ""],
  ["an absolute target", "GET http://a/ HTTP/1.1", ""],
  ["a fragment", "GET /a#b HTTP/1.1", ""],
  ["HTTP/1.0", "GET / HTTP/1.0", ""],
  ["a folded line", "GET / HTTP/1.1", "a: b\r\n c\r\n"],
  ["a space before the colon", "GET / HTTP/1.1", "a : b\r\n"],
  ["no space behind it", "GET / HTTP/1.1", "a:b\r\n"],
  ["a value with space around it", "GET / HTTP/1.1", "a:  b\r\n"],
  ["a bare line feed", "GET / HTTP/1.1", "a: b\nc: d\r\n"],
  ["a bare carriage return", "GET / HTTP/1.1", "a: b\rc\r\n"],
  ["letters beyond ASCII", "GET / HTTP/1.1", "a: \xe4\r\n"],
])("left to the parser: %s", (_why, line, fields) => expect(get(fields, line)).toBeUndefined());

test("whatever it reads, Node's own parser reads in the same way", async () => {
  const heads: string[][] = [];
  const server = http.createServer({ requireHostHeader: false }, ({ method, url, rawHeaders }, response) => {
    heads.push([method!, url!, ...rawHeaders]);
    response.end();
  });
  await once(server.listen(0, "127.0.0.1"), "listening");
  const piece = fc.constantFrom(
    "a",
    "B",
    "-",
    " ",
    ":",
    ": ",
    "\r\n",
    "\r",
    "\n",
    "\t",
    "\xe9",
    "Content-Length",
    "Host",
    "0",
    "%",
  );
  const heap = fc.array(piece, { maxLength: 12 }).map((parts) => parts.join(""));
  const plain = fc.constantFrom(
    "x-a: b\r\n",
    "Accept: a, b\r\n",
    "x: \r\n",
    "Content-Length: 0\r\n",
    "Connection: keep-alive\r\n",
  );
  const text = fc.tuple(fc.array(plain, { maxLength: 4 }), fc.option(heap, { nil: "" }));
  try {
    await fc.assert(
      fc.asyncProperty(text, async ([fields, odd]) => {
        const head = `GET /a HTTP/1.1\r\n${fields.join("")}${odd}\r\n`;
        const found = read(head);
        if (found === undefined) return;
        heads.length = 0;
        const socket = connect((server.address() as AddressInfo).port, "127.0.0.1");
        socket.write(head, "latin1");
        await once(socket, "data");
        socket.destroy();
        const [method, url, ...raw] = heads[0]!;
        const kept = raw.filter((_, i) => raw[i & ~1]!.toLowerCase() !== "connection");
        expect([found.method, found.path, ...found.fields]).toEqual([method, url, ...kept]);
      }),
      { numRuns: 300 },
    );
  } finally {
    server.close();
    server.closeAllConnections();
  }
});
