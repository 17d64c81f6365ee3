import { execFile } from "node:child_process";
import { mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { type AddressInfo, type Socket, connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";

import { expect, onTestFinished, test } from "vitest";

import { claimAddresses } from "./addresses.ts";
import { Chance, caseSeed } from "./oracle/chance.ts";
import { exchange } from "./oracle/http1.ts";
import { ambiguousFor } from "./oracle/rbac/ambiguity.ts";
import { rbacCase } from "./oracle/rbac/case.ts";
import { ourServer } from "./oracle/rbac/ours.ts";
import { clusters } from "./oracle/routes/features/action.ts";
import { ourRoutes } from "./oracle/routes/ours.ts";
import { request, routeTable } from "./oracle/routes/table.ts";
import { readOptions } from "./options.ts";
import { table } from "./report.ts";

// What of the harness runs without a peer.

test("without Python a peer is a line that says so, and no failure", async () => {
  const bin = mkdtempSync(join(tmpdir(), "interop-"));
  onTestFinished(() => rmSync(bin, { recursive: true }));
  symlinkSync(process.execPath, join(bin, "node"));
  const args = ["--conditions=trama-source", join(import.meta.dirname, "main.ts"), "--only", "envoy oracle"];
  const options = { env: { ...process.env, PATH: bin } };
  const { stdout } = await promisify(execFile)(process.execPath, args, options);
  expect(stdout).toMatch(/^envoy \S+ +skipped: needs python$/m);
  const strict = promisify(execFile)(process.execPath, [...args, "--strict", "--json"], options);
  await expect(strict).rejects.toMatchObject({ code: 1, stdout: expect.stringContaining('"skipped":1') as string });
}, 30_000);

test("a peer whose packages cannot be had is a failure that says what to do", async () => {
  const bin = mkdtempSync(join(tmpdir(), "interop-"));
  onTestFinished(() => rmSync(bin, { recursive: true }));
  symlinkSync(process.execPath, join(bin, "node"));
  // A Go that is there, and cannot download anything.
  writeFileSync(join(bin, "go"), '#!/bin/sh\n[ "$1" = version ] || { echo "dial tcp: no route" >&2; exit 1; }\n', {
    mode: 0o755,
  });
  const args = ["--conditions=trama-source", join(import.meta.dirname, "main.ts"), "--only", "grpc-go a change"];
  const ran = promisify(execFile)(process.execPath, args, { env: { ...process.env, PATH: `${bin}:/bin:/usr/bin` } });
  const stdout = expect.stringMatching(
    /^grpc-go .*fail.*dial tcp: no route\): make the registry of go packages reachable/m,
  );
  await expect(ran).rejects.toMatchObject({ code: 1, stdout: stdout as string });
}, 30_000);

test("two runs at once have addresses of their own, and a block that was given back is free again", async () => {
  const rolls = (): (() => number) => {
    let at = 0;
    return () => [0.25, 0.5, 0.25, 0.5, 0.75, 0.5][at++] ?? 0;
  };
  const first = await claimAddresses(rolls());
  const second = await claimAddresses(rolls());
  onTestFinished(async () => void (await Promise.all([first.release(), second.release()])));
  expect(first.at(2)).not.toBe(second.at(2));
  expect(first.at(2).replace(/\d+$/, "")).toBe(first.at(254).replace(/\d+$/, ""));
  expect(() => first.at(1)).toThrow("from 2 to 254");
  await first.release();
  const third = await claimAddresses(rolls());
  expect(third.at(2)).toBe(first.at(2));
  await third.release();
});

test("options are checked", () => {
  expect(readOptions([])).toMatchObject({ json: false, seed: 1, requests: 24_000, only: "", strict: false });
  expect(readOptions(["--seed", "7", "--requests", "100", "--json"])).toMatchObject({
    seed: 7,
    requests: 100,
    json: true,
  });
  expect(readOptions(["--seed", "random"]).seed).toBeGreaterThanOrEqual(0);
  expect(() => readOptions(["--seed", "x"])).toThrow("--seed x");
  expect(() => readOptions(["--what"])).toThrow("--what");
});

test("the table has its columns below one another", () => {
  const line = { peer: "p", version: "1", ms: 1_200, detail: "d" } as const;
  expect(
    table([
      { ...line, capability: "long capability", result: "pass" },
      { ...line, capability: "", result: "skipped", detail: "needs go" },
    ]),
  ).toBe(
    "peer  capability       result             time\n" +
      "p 1   long capability  pass                1 s  d\n" +
      "p 1                    skipped: needs go\n",
  );
});

test("a seed gives the same tables, and our decoder and engine take all that the grammar makes", () => {
  for (let at = 0; at < 60; at++) {
    const [first, second] = [0, 1].map(() => {
      const chance = new Chance(caseSeed(3, at));
      const made = routeTable(chance, "t");
      const ours = ourRoutes(made, clusters, 1);
      return Array.from({ length: 20 }, () => ours.judge(request(chance)));
    });
    expect(first).toEqual(second);
    expect(first?.filter(({ kind }) => kind === "odd")).toEqual([]);
  }
});

test("policies are judged, and a plain request is not called ambiguous", () => {
  const statuses = new Set<number>();
  for (let at = 0; at < 60; at++) {
    const test = rbacCase(new Chance(caseSeed(5, at)), "p", 8_080, 10);
    const ours = ourServer(test, "127.0.0.1");
    for (const { client, requests } of test.clients) for (const one of requests) statuses.add(ours.judge(client, one));
    const plain = { method: "GET", target: "/zzz", host: "nobody", headers: [] };
    const target = JSON.stringify(ours.policies).includes('":path"');
    const sensitive = JSON.stringify(ours.policies).includes('"kind":"path"');
    if (!target && !sensitive) expect(ambiguousFor(ours.policies)(plain)).toBe(false);
  }
  expect([...statuses].toSorted((a, b) => a - b)).toEqual([200, 400, 403]);
});

test("the HTTP client keeps order, and goes on when the peer closes", async () => {
  let count = 0;
  const server = createServer((incoming, response) => {
    if (++count % 3 === 0) response.setHeader("connection", "close");
    const body = `${incoming.method} ${incoming.url} ${incoming.headers.host} ${String(incoming.headers["x-a"])}`;
    response.writeHead(200, { "content-length": body.length }).end(body);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  onTestFinished(async () => {
    const closed = new Promise((resolve) => server.close(resolve));
    server.closeAllConnections();
    await closed;
  });
  const { port } = server.address() as AddressInfo;
  const dial = (): Promise<Socket> =>
    new Promise((resolve) => {
      const socket = connect(port, "127.0.0.1", () => resolve(socket));
    });
  const requests = Array.from({ length: 20 }, (_, at) => ({
    method: "GET",
    target: `/${at}`,
    host: "h",
    headers: [["x-a", "b"]] as const,
  }));
  const responses = await exchange(dial, requests, AbortSignal.timeout(10_000), 3);
  expect(responses.map(({ body }) => body)).toEqual(requests.map(({ target }) => `GET ${target} h b`));
});
