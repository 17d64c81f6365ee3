import { once } from "node:events";
import http from "node:http";
import https from "node:https";
import type { AddressInfo } from "node:net";
import { getCACertificates, setDefaultCACertificates } from "node:tls";
import { Agent, fetch as undiciFetch, request } from "undici";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";

import { makeCertificate } from "../../../test/kit/certs.ts";
import { leakCheck } from "../../../test/kit/leak-check.ts";
import { cluster, endpoint, forward, meshConfig, route, virtualHost } from "../../../test/kit/mesh-config.ts";
import { until } from "../../../test/kit/until.ts";
import { meshAgents } from "../src/adapters/http-agent.ts";
import { meshInterceptor } from "../src/adapters/interceptor.ts";
import { type ClientWorld, clientWorld } from "./client-world.ts";

// HTTP clients whose host has an opaque port: their own TLS, over a connection that the mesh leads by its server name.

const root = makeCertificate("root");
const roots = getCACertificates("default");
const closers: (() => unknown)[] = [];
let noLeaks: () => Promise<void>;
beforeAll(() => {
  noLeaks = leakCheck();
  setDefaultCACertificates([root.certPem]);
});
afterEach(async () => {
  for (const close of closers.splice(0).toReversed()) await close();
});
afterAll(async () => {
  setDefaultCACertificates(roots);
  await noLeaks();
});

async function listening(server: http.Server): Promise<string> {
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  closers.push(() => {
    server.closeAllConnections();
    server.close();
  });
  return `127.0.0.1:${(server.address() as AddressInfo).port}`;
}

/** Answers with its own name and the Host field. */
async function secure(names: string[]): Promise<string> {
  const { certPem: cert, keyPem: key } = makeCertificate(names[0]!, { issuer: root, dnsNames: names });
  const server = https.createServer({ cert, key }, (incoming, answer) =>
    answer.end(`${names[0]} ${incoming.headers.host}`),
  );
  server.on("tlsClientError", () => {});
  return listening(server);
}

/** `a.example` by its name, all others of `.example` to another place; nothing for plaintext. */
async function world(policy?: "REGISTRY_ONLY"): Promise<ClientWorld> {
  const [a, rest] = await Promise.all([secure(["a.example"]), secure(["b.example", "c.example"])]);
  const hosts = ["a.example", "b.example", "c.example"];
  const made = clientWorld(
    meshConfig({
      outbound: hosts.map((host) => ({
        name: `${host}:443`,
        filters: [],
        opaque: true,
        routes: {
          name: host,
          virtualHosts: [
            virtualHost([route(forward("a"))], { domains: ["a.example"] }),
            virtualHost([route(forward("rest"))], { domains: ["*.example"] }),
          ],
        },
      })),
      clusters: [cluster("a", { endpoints: [endpoint(a)] }), cluster("rest", { endpoints: [endpoint(rest)] })],
    }),
    undefined,
    policy,
  );
  closers.push(() => made.close());
  return made;
}

function viaNode(agent: http.Agent, url: string, options: https.RequestOptions = {}): Promise<string> {
  return new Promise((resolve, reject) => {
    https
      .get(url, { agent, ...options }, (answer) => {
        let body = "";
        answer.setEncoding("utf8").on("data", (chunk: string) => (body += chunk));
        answer.on("end", () => resolve(body));
      })
      .on("error", reject);
  });
}

test("undici, fetch and an agent composed with the mesh: TLS is theirs, and the server that the rules name", async () => {
  const mesh = await world();
  const { dispatcher } = mesh;
  const first = await request("https://a.example/", { dispatcher });
  expect(await first.body.text()).toBe("a.example a.example");
  const second = await undiciFetch("https://b.example/", { dispatcher });
  expect(await second.text()).toBe("b.example b.example");
  const composed = new Agent().compose(meshInterceptor(dispatcher));
  closers.push(() => composed.close());
  const third = await request("https://c.example/", { dispatcher: composed });
  expect(await third.body.text()).toBe("b.example c.example");
  // Each request is told as one of the service, and each connection for itself.
  const requests = mesh.ended.filter(({ protocol }) => protocol === "http");
  expect(requests.map(({ record }) => [record.status, record.cluster?.service?.host])).toEqual([
    [200, "a"],
    [200, "a"],
    [200, "a"],
  ]);
  await dispatcher.close();
  await until(() => mesh.ended.filter(({ protocol }) => protocol === "tcp").length === 3);
  expect(mesh.ended.flatMap(({ protocol, record }) => (protocol === "tcp" ? [record.cluster?.name] : []))).toEqual(
    expect.arrayContaining(["a", "rest", "rest"]),
  );
});

test("node:https: connections are kept, and the options of the request hold for its TLS", async () => {
  const { dispatcher, ended } = await world("REGISTRY_ONLY");
  const pair = meshAgents(dispatcher, "REGISTRY_ONLY");
  closers.push(() => pair.https.destroy());
  expect(await viaNode(pair.https, "https://a.example/")).toBe("a.example a.example");
  expect(await viaNode(pair.https, "https://a.example/")).toBe("a.example a.example");
  expect(await viaNode(pair.https, "https://b.example/")).toBe("b.example b.example");
  // Whoever wants another name in the certificate gets the server of that name.
  expect(await viaNode(pair.https, "https://b.example/", { servername: "a.example" })).toBe("a.example b.example");
  await expect(viaNode(pair.https, "https://a.example/", { ca: makeCertificate("other").certPem })).rejects.toThrow();
  pair.https.destroy();
  await until(() => ended.length === 4);
  expect(ended.map(({ protocol, record }) => [protocol, record.cluster?.name])).toEqual(
    expect.arrayContaining([
      ["tcp", "a"],
      ["tcp", "rest"],
    ]),
  );
});

test("without TLS there is no server name, and no rule for that here: it fails, and says why", async () => {
  const { dispatcher, engine } = await world();
  const { outbound, clusters } = engine.current.config;
  engine.publish(
    meshConfig({
      outbound: [{ ...outbound.get("a.example:443")!, name: "a.example:80" }],
      clusters: [...clusters.values()],
    }),
  );
  const failed = await request("http://a.example/", { dispatcher }).catch((error: unknown) => error as Error);
  expect(String((failed as Error).message)).toContain("takes a connection without a server name");
  const pair = meshAgents(dispatcher, "ALLOW_ANY");
  closers.push(() => pair.http.destroy());
  const answer = new Promise(
    (_resolve, reject) => void http.get("http://a.example/", { agent: pair.http }).on("error", reject),
  );
  await expect(answer).rejects.toThrow("without a server name");
});

test("a host that is asked for the first time turns out to be opaque", async () => {
  const mesh = await world();
  const { engine, dispatcher } = mesh;
  const all = engine.current.config;
  engine.publish(meshConfig({}));
  mesh.answer = async () => {
    await Promise.resolve();
    engine.publish(all);
    return "found";
  };
  const answer = await request("https://a.example/", { dispatcher });
  expect(await answer.body.text()).toBe("a.example a.example");
  expect(mesh.asked).toEqual(["a.example:443"]);
});
