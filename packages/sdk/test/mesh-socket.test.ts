import { once } from "node:events";
import { type AddressInfo, createServer } from "node:net";
import { Readable } from "node:stream";
import { buffer, text } from "node:stream/consumers";
import { connect as connectTls, createServer as createTlsServer, type Server } from "node:tls";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";

import { makeCertificate } from "../../../test/kit/certs.ts";
import { leakCheck } from "../../../test/kit/leak-check.ts";
import { cluster, endpoint, forward, meshConfig, route, virtualHost } from "../../../test/kit/mesh-config.ts";
import { until } from "../../../test/kit/until.ts";
import { type MeshSocket, socket } from "../src/adapters/tcp.ts";
import { type ClientWorld, clientWorld } from "./client-world.ts";

// The stream for drivers that cannot wait for a connection: it must behave as a socket of Node's does.

const closers: (() => unknown)[] = [];
let noLeaks: () => Promise<void>;
beforeAll(() => (noLeaks = leakCheck()));
afterEach(async () => {
  for (const close of closers.splice(0).toReversed()) await close();
});
afterAll(() => noLeaks());

async function listening(server: ReturnType<typeof createServer> | Server): Promise<string> {
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  closers.push(() => server.close());
  return `127.0.0.1:${(server.address() as AddressInfo).port}`;
}

function mesh(address: string): ClientWorld["dispatcher"]["connector"] {
  const name = "db.shop:5432";
  const world = clientWorld(
    meshConfig({
      outbound: [
        {
          name,
          filters: [],
          opaque: true,
          routes: { name, virtualHosts: [virtualHost([route(forward("db"))], { domains: ["*"] })] },
        },
      ],
      clusters: [cluster("db", { endpoints: [endpoint(address)] })],
    }),
  );
  closers.push(() => world.close());
  return world.dispatcher.connector;
}

async function echo(): Promise<string> {
  return listening(
    createServer({ allowHalfOpen: true }, (peer) => {
      peer.on("error", () => {});
      peer.pipe(peer);
    }),
  );
}

test("as drivers use it: made at once, then told where to go, written to before it stands", async () => {
  const made = socket(mesh(await echo()));
  expect([made.pending, made.connecting, made.readyState]).toEqual([true, false, "closed"]);
  const connected = once(made, "connect");
  made.setNoDelay(true).setKeepAlive(true, 1_000);
  expect(made.connect(5432, "db.shop")).toBe(made);
  expect(made.readyState).toBe("opening");
  made.write("one");
  await connected;
  expect([made.pending, made.readyState, made.remoteAddress]).toEqual([false, "open", "127.0.0.1"]);
  expect(((await once(made, "data")) as [Buffer])[0].toString()).toBe("one");
  made.end("two");
  expect(await text(made)).toBe("two");
  await until(() => made.destroyed);
});

test("all bytes come through in order, with back-pressure on both ways", async () => {
  const all = Buffer.alloc(4_000_000, "abcdefghij");
  const made = socket(mesh(await echo()), { host: "db.shop", port: 5432 });
  Readable.from(chunks(all)).pipe(made);
  // Nobody reads: neither end may take all of it into memory.
  await once(made, "connect");
  await new Promise((resolve) => setTimeout(resolve, 50));
  expect(made.readableLength).toBeLessThan(1_000_000);
  expect((await buffer(made)).equals(all)).toBe(true);
});

function* chunks(all: Buffer): Generator<Buffer> {
  for (let at = 0; at < all.length; at += 10_007) yield all.subarray(at, at + 10_007);
}

test("a TLS of the driver's own goes over it, as after STARTTLS", async () => {
  const root = makeCertificate("root");
  const { certPem: cert, keyPem: key } = makeCertificate("db", { issuer: root, dnsNames: ["db.shop"] });
  const address = await listening(createTlsServer({ cert, key }, (peer) => peer.end("secret")));
  const secured = connectTls({
    socket: socket(mesh(address), { host: "db.shop", port: 5432 }),
    servername: "db.shop",
    ca: root.certPem,
  });
  expect(await text(secured)).toBe("secret");
});

test("what goes wrong is an error and a close, whoever is to blame", async () => {
  const refused = socket(mesh("127.0.0.1:1"), { host: "db.shop", port: 5432 });
  expect((await ended(refused)).error).toMatchObject({ code: "CONNECT_FAILED" });
  const reset = socket(mesh(await listening(createServer((peer) => peer.once("data", () => peer.resetAndDestroy())))), {
    host: "db.shop",
    port: 5432,
  });
  reset.resume();
  reset.write("x");
  expect((await ended(reset)).error).toMatchObject({ code: "ECONNRESET" });
  const given = socket(mesh(await echo()), { host: "db.shop", port: 5432 });
  given.destroy();
  expect(await ended(given)).toEqual({ error: undefined });
  const never = socket(mesh(await echo()));
  never.end();
  never.resume();
  never.destroy();
  expect(await ended(never)).toEqual({ error: undefined });
});

async function ended(made: MeshSocket): Promise<{ error: unknown }> {
  let error: unknown;
  made.on("error", (thrown) => (error = thrown));
  await once(made, "close").catch(() => {});
  if (!made.closed) await once(made, "close");
  return { error };
}
