import { request } from "node:http";
import { typeUrls } from "@trama/proto";
import { describe, expect, test } from "vitest";

import { running } from "./kit/running.ts";
import { node } from "./kit/session-peer.ts";

const { cluster, listener } = typeUrls;

describe("the status server", () => {
  test("S46: shows per node and type what was sent, ACKed and refused, with the text", async () => {
    const { client, controlPlane } = await running({ [cluster]: { a: "1" } });
    const stream = (await client()).delta();
    stream.send({ node, typeUrl: cluster, resourceNamesSubscribe: ["a"] });
    const first = await stream.next();
    stream.send({ typeUrl: cluster, responseNonce: first.nonce, errorDetail: { code: 3, message: "a: bad policy" } });
    stream.send({ typeUrl: listener, resourceNamesSubscribe: ["x"] });
    await stream.next();

    const status = await json(`${controlPlane.httpUrl}/status`);
    expect(status).toMatchObject({
      identifier: "test",
      ready: true,
      snapshotVersion: expect.any(String),
      clients: [
        {
          nodeId: node.id,
          identity: "spiffe://cluster.local/ns/shop/sa/web",
          kind: "trama",
          protocol: "delta",
          types: {
            [cluster]: {
              names: 1,
              sent: 1,
              acked: 0,
              nacked: 1,
              nackText: "a: bad policy",
              nackedAt: expect.any(String),
            },
            [listener]: { names: 1, sent: 1 },
          },
        },
      ],
    });
    const metrics = await (await fetch(`${controlPlane.httpUrl}/metrics`)).text();
    expect(metrics).toContain('pilot_xds_pushes{type="cds"} 1\n');
    expect(metrics).toContain("pilot_xds_cds_reject 1\n");
    expect(metrics).toContain("pilot_total_xds_rejects 1\n");
    expect(metrics).toMatch(/pilot_xds\{version="[^"]+"\} 1\n/);
    expect(metrics).toMatch(/citadel_server_root_cert_expiry_seconds 3\d{8}/);
  });

  test("the time from a change to its ACK is measured", async () => {
    const { client, controlPlane, source } = await running({ [cluster]: { a: "1" } });
    const stream = (await client()).delta();
    stream.send({ node, typeUrl: cluster, resourceNamesSubscribe: ["a"] });
    stream.send({ typeUrl: cluster, responseNonce: (await stream.next()).nonce });
    source.publish({ [cluster]: { a: "2" } });
    stream.send({ typeUrl: cluster, responseNonce: (await stream.next()).nonce });
    // Answered after the ACK was read.
    stream.send({ typeUrl: listener, resourceNamesSubscribe: ["x"] });
    await stream.next();
    const metrics = await (await fetch(`${controlPlane.httpUrl}/metrics`)).text();
    expect(metrics).toContain("pilot_proxy_convergence_time_count 1\n");
    expect(metrics).toContain("pilot_xds_push_time_count 1\n");
  });

  test("is ready when there is something to serve", async () => {
    const { controlPlane, source } = await running(undefined);
    expect((await fetch(`${controlPlane.httpUrl}/healthz`)).status).toBe(200);
    expect((await fetch(`${controlPlane.httpUrl}/ready`)).status).toBe(503);
    source.publish({});
    expect((await fetch(`${controlPlane.httpUrl}/ready`)).status).toBe(200);
  });

  test("S35: shows no key and no token", async () => {
    const { client, controlPlane } = await running({ [cluster]: { a: "1" } });
    const stream = (await client()).delta();
    stream.send({ node, typeUrl: cluster, resourceNamesSubscribe: ["a"] });
    await stream.next();
    for (const path of ["/status", "/metrics"]) {
      const text = await (await fetch(`${controlPlane.httpUrl}${path}`)).text();
      expect(text).not.toMatch(/PRIVATE|BEGIN|Bearer|eyJ/);
    }
  });

  test("listens on loopback, answers under its own names only, and changes nothing", async () => {
    const { controlPlane } = await running({});
    const url = new URL(controlPlane.httpUrl);
    expect(url.hostname).toBe("127.0.0.1");
    expect(await statusFor(url, "evil.example")).toBe(421);
    expect(await statusFor(url, `localhost:${url.port}`)).toBe(200);
    expect((await fetch(`${url.origin}/status`, { method: "POST" })).status).toBe(405);
    expect((await fetch(`${url.origin}/nothing`)).status).toBe(404);
    expect((await fetch(`${url.origin}/status`, { method: "HEAD" })).status).toBe(200);
  });
});

async function json(url: string): Promise<unknown> {
  return (await fetch(url)).json();
}

function statusFor(url: URL, host: string): Promise<number | undefined> {
  return new Promise((resolve, reject) => {
    const call = request(`${url.origin}/healthz`, { headers: { host } }, (response) => {
      response.resume();
      resolve(response.statusCode);
    });
    call.once("error", reject);
    call.end();
  });
}
