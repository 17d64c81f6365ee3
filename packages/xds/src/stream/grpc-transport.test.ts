import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { create } from "@bufbuild/protobuf";
import { aggregatedDiscoveryService } from "@trama/proto";
import type { DeltaDiscoveryResponse } from "@trama/proto/envoy/service/discovery/v3/discovery_pb.js";
import { DeltaDiscoveryRequestSchema } from "@trama/proto/envoy/service/discovery/v3/discovery_pb.js";
import { afterAll, afterEach, expect, test } from "vitest";

import { type AdsServer, startAdsServer } from "../../../../test/kit/ads-server.ts";
import { makeCertificate, spiffe } from "../../../../test/kit/certs.ts";
import type { CallCredentials, XdsServer } from "../bootstrap.ts";
import { createGrpcTransport } from "./grpc-transport.ts";
import type { BidiStream, ClientCertificate, StreamStatus } from "./transport.ts";

const folder = mkdtempSync(join(tmpdir(), "trama-transport-"));
afterAll(() => rmSync(folder, { recursive: true }));

const root = makeCertificate("root");
const serverCert = makeCertificate("istiod", { issuer: root, dnsNames: ["istiod.istio-system.svc"] });
const foreign = makeCertificate("foreign root");

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).toReversed()) await cleanup();
});

async function tlsServer(): Promise<AdsServer> {
  const server = await startAdsServer({
    manual: true,
    tls: { certPem: serverCert.certPem, keyPem: serverCert.keyPem, rootPem: root.certPem },
  });
  cleanups.push(() => server.close());
  return server;
}

interface Opened {
  readonly stream: BidiStream<unknown>;
  readonly events: string[];
  readonly ended: Promise<StreamStatus>;
  readonly messages: DeltaDiscoveryResponse[];
}

function open(
  server: AdsServer,
  more: Partial<Extract<XdsServer["channel"], { kind: "tls" }>> = {},
  call: readonly CallCredentials[] = [],
  certificate?: () => Promise<ClientCertificate | undefined>,
): Opened {
  const transport = createGrpcTransport({
    server: {
      uri: server.address,
      channel: {
        kind: "tls",
        roots: { pem: root.certPem },
        certificate: undefined,
        serverName: "istiod.istio-system.svc",
        ...more,
      },
      call,
      features: new Set(),
    },
    certificate,
  });
  const events: string[] = [];
  const messages: DeltaDiscoveryResponse[] = [];
  const end = Promise.withResolvers<StreamStatus>();
  const stream = transport.open(aggregatedDiscoveryService.DeltaAggregatedResources, {
    onOpen: () => void events.push("open"),
    onMessage: (message) => {
      events.push("message");
      messages.push(message);
    },
    onEnd: (status) => {
      events.push("end");
      end.resolve(status);
    },
  });
  cleanups.push(() => stream.close());
  stream.send(create(DeltaDiscoveryRequestSchema, { typeUrl: "t", resourceNamesSubscribe: ["a"] }));
  return { stream: stream as BidiStream<unknown>, events, ended: end.promise, messages };
}

test("TLS with a server name that is not the dialled host; messages in order (I2)", async () => {
  const server = await tlsServer();
  const { events } = open(server);
  await server.until(() => server.stream.delta.length === 1);
  server.stream.respond({ typeUrl: "t" });
  await server.until(() => events.includes("message"));
  expect(events).toEqual(["open", "message"]);
});

test("a root that did not sign, a name or an address that is not in the certificate: ended, never open", async () => {
  const server = await tlsServer();
  for (const { events, ended } of [
    open(server, { roots: { pem: foreign.certPem } }),
    open(server, { serverName: "elsewhere" }),
    open(server, { serverName: undefined }), // dialled by address, which is not in the certificate
  ]) {
    await expect(ended).resolves.toMatchObject({ code: 14 });
    expect(events).toEqual(["end"]);
  }
  expect(server.streams).toEqual([]);
});

test("every root of the file counts (I3), and the file is read for each stream", async () => {
  const server = await tlsServer();
  const file = join(folder, "roots.pem");
  writeFileSync(file, foreign.certPem);
  await expect(open(server, { roots: { file } }).ended).resolves.toMatchObject({ code: 14 });
  writeFileSync(file, foreign.certPem + root.certPem);
  const { events } = open(server, { roots: { file } });
  await server.until(() => events.includes("open"));
});

test("the token is read anew for each stream (I4)", async () => {
  const server = await tlsServer();
  const file = join(folder, "token");
  for (const token of ["first", "second"]) {
    writeFileSync(file, `${token}\n`);
    const { stream } = open(server, {}, [{ kind: "token_file", file }]);
    await server.until(() => server.stream.metadata.get("authorization")[0] === `Bearer ${token}`);
    stream.close();
    await server.until(() => server.streams.every((one) => one.ended));
  }
});

test("a token or root that cannot be read is an end with its reason, and the token is never printed", async () => {
  const server = await tlsServer();
  const file = join(folder, "none");
  await expect(open(server, {}, [{ kind: "token_file", file }]).ended).resolves.toMatchObject({
    code: 16,
    message: expect.stringContaining(`join token in ${file} cannot be read`),
  });
  const odd = await open(server, {}, [{ kind: "token", read: () => "sec\nret" }]).ended;
  expect(odd).toMatchObject({ code: 16, message: "the join token is empty or not one line of ASCII" });
  await expect(open(server, { roots: { file } }).ended).resolves.toMatchObject({
    code: 14,
    message: expect.stringContaining("root certificate"),
  });
  await expect(open(server, { roots: { pem: "junk" } }).ended).resolves.toMatchObject({ code: 14 });
});

test("a client certificate is asked for at each new connection", async () => {
  const server = await tlsServer();
  let asked = 0;
  const own = makeCertificate("client", { issuer: root, uris: [spiffe("shop", "web")] });
  for (let i = 1; i <= 2; i++) {
    const { events, stream } = open(server, {}, [], () => {
      asked++;
      return Promise.resolve({ certificatePem: own.certPem, privateKeyPem: own.keyPem });
    });
    await server.until(() => events.includes("open"));
    stream.close();
    expect(asked).toBe(i);
  }
  const { ended } = open(server, {}, [], () => Promise.reject(new Error("no identity yet")));
  await expect(ended).resolves.toMatchObject({ code: 14, message: "no identity yet" });
});

test("close ends the stream at the server and is silent", async () => {
  const server = await tlsServer();
  const { events, stream } = open(server);
  await server.until(() => server.stream.delta.length === 1);
  stream.close();
  stream.close();
  await server.until(() => server.streams.every((one) => one.ended));
  expect(events.filter((event) => event !== "open")).toEqual([]);
});

test("the end of the server's side is told with its status", async () => {
  const server = await tlsServer();
  const { ended } = open(server);
  await server.until(() => server.stream.delta.length === 1);
  server.stream.kill({ code: 8, details: "too many" });
  await expect(ended).resolves.toEqual({ code: 8, message: "too many" });
});
