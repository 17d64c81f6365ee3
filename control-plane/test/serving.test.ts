import type { X509Certificate } from "node:crypto";
import { connect } from "node:tls";
import { typeUrls } from "@trama/proto";
import { describe, expect, onTestFinished, test, vi } from "vitest";

import { readCertificate, uriNames } from "../src/ca/read-certificate.ts";
import { fakeClock } from "./kit/fake-clock.ts";
import { running } from "./kit/running.ts";
import { node } from "./kit/session-peer.ts";

const { cluster } = typeUrls;

describe("the server's own certificate", () => {
  test("is of our authority, for the names under which clients dial and for the mesh", async () => {
    const { controlPlane, root } = await running({}, { serverNames: ["cp.example.com", "fd00::5"] });
    const { certificate } = await handshake(controlPlane.port, root);
    expect(certificate.subjectAltName).toBe(
      "DNS:localhost, IP Address:127.0.0.1, IP Address:0:0:0:0:0:0:0:1, DNS:cp.example.com, " +
        "IP Address:FD00:0:0:0:0:0:0:5, URI:spiffe://cluster.local/ns/istio-system/sa/trama-control-plane",
    );
    expect(uriNames(readCertificate(certificate.raw))).toHaveLength(1);
  });

  test("is renewed at half its life with a new key, and open streams stay", async () => {
    const clock = fakeClock(Date.now() - 13 * 3_600_000);
    const { bare, controlPlane, root, source } = await running(
      { [cluster]: { a: "1" } },
      {},
      { clock, limits: { maxConnectionAgeMs: 86_400_000 } },
    );
    const first = (await handshake(controlPlane.port, root)).certificate;
    const day = { namespace: "shop", serviceAccount: "web", lifeSeconds: 86_400 };
    const stream = bare({ token: await controlPlane.issueToken(day) }).delta();
    stream.send({ node, typeUrl: cluster, resourceNamesSubscribe: ["a"] });
    const { nonce } = await stream.next();
    stream.send({ typeUrl: cluster, responseNonce: nonce });
    clock.advance(12 * 3_600_000 - 1_000);
    expect((await handshake(controlPlane.port, root)).certificate.serialNumber).toBe(first.serialNumber);
    clock.advance(1_000);
    await vi.waitFor(async () => {
      const second = (await handshake(controlPlane.port, root)).certificate;
      expect(second.serialNumber).not.toBe(first.serialNumber);
      expect(second.publicKey.equals(first.publicKey)).toBe(false);
    });
    source.publish({ [cluster]: { a: "2" } });
    expect((await stream.next()).resources).toHaveLength(1);
  });

  test("TLS 1.1 is refused, and sessions are not resumed", async () => {
    const { controlPlane, root } = await running({});
    await expect(
      handshake(controlPlane.port, root, { maxVersion: "TLSv1.1", minVersion: "TLSv1.1" }),
    ).rejects.toThrow();
    for (const version of ["TLSv1.2", "TLSv1.3"] as const) {
      const first = await handshake(controlPlane.port, root, { maxVersion: version });
      const second = await handshake(controlPlane.port, root, { maxVersion: version, session: first.session });
      expect(second.reused).toBe(false);
    }
  });
});

interface Seen {
  readonly certificate: X509Certificate;
  readonly session: Buffer | undefined;
  readonly reused: boolean;
}

function handshake(port: number, root: string, options: object = {}): Promise<Seen> {
  return new Promise((resolve, reject) => {
    const socket = connect({
      port,
      host: "127.0.0.1",
      servername: "localhost",
      ca: root,
      ALPNProtocols: ["h2"],
      ...options,
    });
    onTestFinished(() => void socket.destroy());
    let session: Buffer | undefined;
    socket.on("session", (offered) => (session = offered));
    socket.once("error", reject);
    // The server speaks first in HTTP/2: by then tickets of TLS 1.3 have come, too.
    socket.once("data", () => {
      const certificate = socket.getPeerX509Certificate();
      if (certificate === undefined) return reject(new Error("no certificate"));
      resolve({ certificate, session: session ?? socket.getSession(), reused: socket.isSessionReused() });
      socket.destroy();
    });
  });
}
