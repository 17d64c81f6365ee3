import { X509Certificate } from "node:crypto";
import { readdir, readFile } from "node:fs/promises";
import net from "node:net";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { foreignIdentity, selfSignedIdentity, type Credentials } from "./harness/certificates.ts";
import { expectNoLeaks } from "./harness/leaks.ts";
import "./harness/limits.ts";
import { startMesh, type Client, type Service, type TestMesh } from "./harness/mesh.ts";
import { rawPlain, rawTls, requestBytes, statusOf } from "./harness/raw.ts";
import { until } from "./harness/until.ts";
import { authorization, documents, peerAuthentication, serviceEntry } from "./harness/yaml.ts";

/** Who may speak to whom: certificates, STRICT and PERMISSIVE, and policy that runs before any handler. */

const frameworks = ["express", "fastify", "http"] as const;

/** `customer` may read /books; `reader` may do anything but what is below /admin. */
const guard = (app: string): string =>
  documents(
    authorization(
      `${app}-allow`,
      "shop",
      app,
      "ALLOW",
      `    - from: [{ source: { principals: [cluster.local/ns/shop/sa/customer] } }]
      to: [{ operation: { methods: [GET], paths: [/books] } }]
    - from: [{ source: { principals: [cluster.local/ns/shop/sa/reader] } }]`,
    ),
    authorization(`${app}-deny`, "shop", app, "DENY", `    - to: [{ operation: { paths: [/admin, /admin/*] } }]`),
  );

let mesh: TestMesh;
const services = new Map<string, Service>();
let open: Service;
let customer: Client;
let reader: Client;
let readerFiles: Credentials;
/** One with another account, and the right accounts in another namespace. */
let strangers: readonly Client[];

beforeAll(async () => {
  mesh = await startMesh({
    yaml: {
      "modes.yaml": documents(peerAuthentication("shop", "STRICT"), peerAuthentication("open", "PERMISSIVE")),
      "services.yaml": documents(
        ...frameworks.flatMap((framework) => [serviceEntry(framework, "shop"), guard(framework)]),
        serviceEntry("open", "open"),
      ),
    },
  });
  const identityDir = join(mesh.folder, "reader-identity");
  [customer, reader, open] = await Promise.all([
    mesh.client({ account: "customer" }),
    mesh.client({ account: "reader" }, { env: { TRAMA_IDENTITY_DIR: identityDir } }),
    mesh.service({ app: "open", namespace: "open" }),
    ...frameworks.map(async (framework) => {
      services.set(framework, await mesh.service({ app: framework, framework }));
    }),
  ]);
  readerFiles = await identityFiles(identityDir);
  strangers = await Promise.all(
    [
      { account: "stranger" },
      { account: "customer", namespace: "other" },
      { account: "reader", namespace: "other" },
    ].map((identity) => mesh.client(identity)),
  );
  await until("every service is found and its policy is there", async () => {
    for (const framework of frameworks) {
      const good = await customer.call("attempt", { url: `http://${framework}:8080/books` });
      if (good.answer?.status !== 200) return false;
    }
    return true;
  });
});
afterAll(async () => {
  await mesh?.close();
  await expectNoLeaks();
});
beforeEach(async () => {
  for (const service of [...services.values(), open]) await service.call("reset");
});

describe.each(frameworks)("a server of %s", (framework) => {
  const url = `http://${framework}:8080`;
  const service = (): Service => services.get(framework)!;
  const untouched = async (): Promise<void> =>
    expect(await service().call("stats")).toMatchObject({ served: {}, upgrades: 0 });
  /** As the mesh's own client would, but byte for byte as the test says. */
  const asReader = (bytes: string): Promise<{ text: string; code: string }> =>
    rawTls(service().port, { ...readerFiles, servername: "x" }, bytes);

  test("its handler sees who calls, by SPIFFE id", async () => {
    const { status, text } = await customer.call("call", { url: `${url}/books` });
    expect(status).toBe(200);
    expect(JSON.parse(text)).toMatchObject({ peer: "spiffe://cluster.local/ns/shop/sa/customer" });
  });

  test("a wrong identity and a wrong namespace get 403, and the handler does not run", async () => {
    for (const client of strangers) {
      const { status, text } = await client.call("call", { url: `http://${framework}.shop:8080/books` });
      expect({ status, text }, client.name).toEqual({ status: 403, text: "RBAC: access denied" });
    }
    await untouched();
  });

  test("the right identity with a wrong method or path gets 403", async () => {
    for (const call of [
      { url: `${url}/other` },
      { url: `${url}/books`, method: "POST", body: "new" },
      { url: `${url}/books/1` },
      { url: `${url}/admin` },
    ]) {
      const { status } = await customer.call("call", call);
      expect(status, JSON.stringify(call)).toBe(403);
    }
    expect((await reader.call("call", { url: `${url}/other` })).status).toBe(200);
    expect((await reader.call("call", { url: `${url}/admin` })).status).toBe(403);
    expect((await service().call("stats")).served).toEqual({ "GET /other": 1 });
  });

  test("no spelling of a denied path reaches the handler", async () => {
    for (const target of [
      "/admin",
      "/admin?x=1",
      "//admin",
      "/./admin",
      "/x/../admin",
      "/%61dmin",
      "/%2561dmin/../admin",
      "/admin/",
      "/ADMIN",
      "/Admin/",
      "/admin/%2e%2e/admin",
      "/admin;v=1",
      "/x;v=1/../admin",
      "/admin#fragment",
      "/x/%2e%2e/admin",
      "/x/..%2fadmin",
      "/x\\..\\admin",
      "/admin%00",
      "http://service:8080/admin",
      "HTTP://SERVICE:8080//admin",
      "http://elsewhere:8080/admin",
    ]) {
      const { text, code } = await asReader(requestBytes("GET", target));
      expect([400, 403], `${target} was answered ${text.slice(0, 60)} ${code}`).toContain(statusOf(text));
    }
    await untouched();
  });

  test("no other spelling of the one allowed path is allowed", async () => {
    const files = await customerFiles();
    for (const target of [
      "//books",
      "/./books",
      "/%62ooks",
      "/x/../books",
      "/books/",
      "/BOOKS",
      "/books;v=1",
      "/books#x",
      "/books%2f..%2fadmin",
      "http://elsewhere:8080/books",
    ]) {
      const { text, code } = await rawTls(service().port, { ...files, servername: "x" }, requestBytes("GET", target));
      expect([400, 403], `${target} was answered ${text.slice(0, 60)} ${code}`).toContain(statusOf(text));
    }
    await untouched();
    const { text } = await rawTls(service().port, { ...files, servername: "x" }, requestBytes("GET", "/books?page=2"));
    expect(statusOf(text)).toBe(200);
  });

  test("upgrades are authorized before the application sees them", async () => {
    const upgrade = { connection: "upgrade", upgrade: "hello" };
    const refused = await asReader(requestBytes("GET", "/admin", upgrade));
    expect([400, 403]).toContain(statusOf(refused.text));
    const foreign = await rawPlain(service().port, requestBytes("GET", "/chat", upgrade));
    expect(foreign.text).toBe("");
    await untouched();
    const accepted = await asReader(requestBytes("GET", "/chat", upgrade));
    expect(accepted.text).toMatch(/^HTTP\/1\.1 101 [\s\S]*hello$/);
    expect(await service().call("stats")).toMatchObject({ upgrades: 1 });
  });

  test("CONNECT and Expect: 100-continue go through authorization too", async () => {
    const connect = await asReader(requestBytes("CONNECT", "service:80"));
    expect([0, 400, 403, 404, 405, 501]).toContain(statusOf(connect.text));
    const expectation = await asReader(
      requestBytes("POST", "/admin", { expect: "100-continue", "content-length": "3" }),
    );
    // Node may invite the body before anybody could refuse it; the answer is a refusal all the same.
    expect(statusOf(expectation.text.replace(/^HTTP\/1\.1 100 Continue\r\n\r\n/, ""))).toBe(403);
    await untouched();
  });

  test("plaintext in STRICT is cut without a byte of HTTP", async () => {
    for (const bytes of [requestBytes("GET", "/books"), "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "\x00\x01\x02garbage"])
      expect((await rawPlain(service().port, bytes)).text).toBe("");
    // What an application's own client makes of it.
    const failure = await fetch(`http://127.0.0.1:${service().port}/books`).then(
      () => undefined,
      (error: Error) => error.cause as { code?: string },
    );
    expect(["ECONNRESET", "UND_ERR_SOCKET"]).toContain(failure?.code);
    await untouched();
  });

  test("TLS without a certificate, with a self-signed and with a foreign one is refused", async () => {
    const claim = "spiffe://cluster.local/ns/shop/sa/reader";
    for (const [who, credentials] of [
      ["none", {}],
      ["self-signed", selfSignedIdentity(claim)],
      ["foreign root", foreignIdentity(claim)],
    ] as const) {
      const { text } = await rawTls(service().port, { ...credentials, servername: "x" }, requestBytes("GET", "/books"));
      expect(text, who).toBe("");
    }
    await untouched();
  });
});

test("PERMISSIVE takes mTLS and plaintext on one port, and knows which is which", async () => {
  const { port } = open;
  const plain = await rawPlain(port, requestBytes("GET", "/echo"));
  expect(statusOf(plain.text)).toBe(200);
  expect(plain.text).toContain('"peer":null');
  const { text } = await customer.call("call", { url: "http://open.open:8080/echo" });
  expect(JSON.parse(text)).toMatchObject({ peer: "spiffe://cluster.local/ns/shop/sa/customer" });
  // TLS that is not the mesh's is still refused.
  const foreign = await rawTls(port, { servername: "x" }, requestBytes("GET", "/echo"));
  expect(foreign.text).toBe("");
  expect((await open.call("stats")).peers).toEqual({ nobody: 1, "spiffe://cluster.local/ns/shop/sa/customer": 1 });
});

test("identity that is only claimed in a header is not believed, and does not reach the application", async () => {
  const { text } = await rawPlain(
    open.port,
    requestBytes("GET", "/echo", {
      "x-trama-peer": "customer;shop;customer;latest;Kubernetes",
      "x-forwarded-client-cert": "URI=spiffe://cluster.local/ns/shop/sa/customer",
    }),
  );
  expect(statusOf(text)).toBe(200);
  expect(text).toContain('"peer":null');
  expect(text).not.toContain("x-trama-peer");
});

test("a policy that changes reaches connections that are already open", async () => {
  const url = "http://http:8080/live";
  expect((await reader.call("call", { url })).status).toBe(200);
  await mesh.write(
    "live.yaml",
    authorization("live", "shop", "http", "DENY", `    - to: [{ operation: { paths: [/live] } }]`),
  );
  await until("the new policy is in force", async () => (await reader.call("call", { url })).status === 403);
  await mesh.remove("live.yaml");
  await until("the old policy is back", async () => (await reader.call("call", { url })).status === 200);
});

describe("a client", () => {
  test("does not talk to a server that has another identity than the endpoint must have", async () => {
    // The intruder is in the mesh, with a good certificate of its own, and someone wrote its port where `honey` should be.
    const intruder = await mesh.service({ app: "intruder", register: false });
    await mesh.write("honey.yaml", serviceEntry("honey", "shop"));
    await mesh.register({ ...intruder.entry, name: "honey-v1", app: "honey", account: "honey" });
    const seen = await until("the client refuses the server", async () => {
      const { failure, answer } = await reader.call("attempt", { url: "http://honey:8080/" });
      const code = failure?.code === "" ? failure.causes[0]?.code : failure?.code;
      if (code === "TLS_FAILED") return "refused";
      return answer !== undefined && answer.status === 200 ? "answered" : false;
    });
    expect(seen).toBe("refused");
    expect((await intruder.call("stats")).served).toEqual({});
    await mesh.deregister("honey-v1");
  });

  test("never sends plaintext where the mesh says TLS", async () => {
    const first: Buffer[] = [];
    const listener = net.createServer((socket) => {
      socket.on("error", () => {});
      socket.once("data", (chunk: Buffer) => {
        first.push(chunk);
        socket.end("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
      });
    });
    await new Promise<void>((resolve) => listener.listen(0, "127.0.0.1", resolve));
    try {
      const { port } = listener.address() as net.AddressInfo;
      await mesh.write("trap.yaml", serviceEntry("trap", "shop"));
      await mesh.register({ name: "trap-v1", app: "trap", version: "v1", namespace: "shop", account: "trap", port });
      await until("the client came by", async () => {
        const { answer } = await reader.call("attempt", { url: "http://trap:8080/secret" });
        expect(answer?.status ?? 503).not.toBe(200);
        return first.length > 0;
      });
      // 22 is a TLS handshake record.
      expect(first.map((chunk) => chunk[0])).toEqual(first.map(() => 22));
    } finally {
      await mesh.deregister("trap-v1");
      await new Promise((resolve) => listener.close(resolve));
    }
  });
});

let customerDir: Promise<Credentials> | undefined;
/** Key and certificate of another `customer`, as the SDK itself keeps them. */
function customerFiles(): Promise<Credentials> {
  return (customerDir ??= (async () => {
    const folder = join(mesh.folder, "customer-identity");
    await mesh.client({ account: "customer" }, { env: { TRAMA_IDENTITY_DIR: folder } });
    return identityFiles(folder);
  })());
}

async function identityFiles(folder: string): Promise<Credentials> {
  const texts = await Promise.all(
    (await readdir(folder, { recursive: true, withFileTypes: true }))
      .filter((entry) => entry.isFile())
      .map((entry) => readFile(join(entry.parentPath, entry.name), "utf8")),
  );
  const key = texts.find((text) => text.includes("PRIVATE KEY-----"));
  const cert = texts.find(
    (text) =>
      text.includes("-----BEGIN CERTIFICATE") && new X509Certificate(text).subjectAltName?.includes("spiffe:") === true,
  );
  if (key === undefined || cert === undefined) throw new Error(`no key and certificate in ${folder}`);
  return { key, cert };
}
