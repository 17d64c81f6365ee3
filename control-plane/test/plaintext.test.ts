import { status } from "@grpc/grpc-js";
import { typeUrls } from "@trama/proto";
import { describe, expect, test } from "vitest";

import { testClient } from "./kit/ads-client.ts";
import { type Running, running } from "./kit/running.ts";

const { cluster } = typeUrls;
const listed = { id: "sidecar~127.0.0.1~web.shop~shop.svc.cluster.local", namespace: "shop", serviceAccount: "web" };
const contents = { [cluster]: { everyone: "1", "shop/own": "2", "bank/vault": "3" } };

/** S32: plaintext ADS only on loopback, by explicit option, for listed nodes. */
describe("S32: the plaintext port", () => {
  test("is not there unless it was asked for, and not without a list", async () => {
    expect((await running(contents)).controlPlane.plaintextAddress).toBeUndefined();
    await expect(running(contents, { plaintextPort: 0 })).rejects.toMatchObject({ code: "OPTIONS" });
    await expect(running(contents, { plaintextNodes: [listed] })).rejects.toMatchObject({ code: "OPTIONS" });
  });

  test("is on loopback whatever the host of the other port", async () => {
    const { controlPlane } = await running(contents, { host: "0.0.0.0", plaintextPort: 0, plaintextNodes: [listed] });
    expect(controlPlane.plaintextAddress).toMatch(/^127\.0\.0\.1:\d+$/);
  });

  test("a listed node gets what its listed identity may see, and nothing else (S34)", async () => {
    const client = await plaintext();
    const stream = client.delta();
    stream.send({
      node: { id: listed.id },
      typeUrl: cluster,
      resourceNamesSubscribe: ["everyone", "shop/own", "bank/vault"],
    });
    const { resources, removedResources } = await stream.next();
    expect(resources.map(({ name }) => name).sort()).toEqual(["everyone", "shop/own"]);
    expect(removedResources).toEqual(["bank/vault"]);
  });

  test("state of the world as well, request after request", async () => {
    const stream = (await plaintext()).sotw();
    stream.send({ node: { id: listed.id }, typeUrl: cluster, resourceNames: ["shop/own"] });
    const first = await stream.next();
    stream.send({
      typeUrl: cluster,
      resourceNames: ["shop/own", "everyone"],
      versionInfo: first.versionInfo,
      responseNonce: first.nonce,
    });
    expect((await stream.next()).resources).toHaveLength(2);
  });

  test("any other node is UNAUTHENTICATED, and a listed one may not claim another account (S33)", async () => {
    const client = await plaintext();
    for (const id of ["", "web", "sidecar~127.0.0.1~vault.bank~bank.svc.cluster.local"]) {
      const stream = client.delta();
      stream.send({ node: { id }, typeUrl: cluster, resourceNamesSubscribe: ["everyone"] });
      expect(await stream.ended).toMatchObject({ code: status.UNAUTHENTICATED });
    }
    const stream = client.delta();
    stream.send({ node: { id: listed.id, metadata: { SERVICE_ACCOUNT: "vault" } }, typeUrl: cluster });
    expect(await stream.ended).toMatchObject({ code: status.PERMISSION_DENIED });
  });

  test("gives no certificates: there is no identity to give them to", async () => {
    await expect((await plaintext()).certificate({ csr: "x" })).rejects.toMatchObject({ code: status.UNIMPLEMENTED });
  });

  test("shows its streams in the status, with the identity that was listed (S46)", async () => {
    const mesh = await plane();
    const stream = dial(mesh).delta();
    stream.send({ node: { id: listed.id }, typeUrl: cluster, resourceNamesSubscribe: ["everyone"] });
    await stream.next();
    expect(mesh.controlPlane.status().clients).toMatchObject([{ identity: "spiffe://cluster.local/ns/shop/sa/web" }]);
  });
});

function plane(): Promise<Running> {
  return running(contents, { plaintextPort: 0, plaintextNodes: [listed] });
}

function dial({ controlPlane }: Running): ReturnType<typeof testClient> {
  return testClient(Number(controlPlane.plaintextAddress?.split(":")[1]), { root: "" });
}

async function plaintext(): Promise<ReturnType<typeof testClient>> {
  return dial(await plane());
}
