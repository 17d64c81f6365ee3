import http from "node:http";
import { Worker, isMainThread } from "node:worker_threads";
import { request, Pool } from "undici";
import { clientWorld } from "./client-world.ts";
import { cluster, endpoint, forward, listener, meshConfig, route, retryPolicy } from "../../../test/kit/mesh-config.ts";
import { fork } from "node:child_process";
if (process.argv[2] === "server") {
  const s = http.createServer((q, r) => { r.setHeader("content-type","text/plain"); r.end("x".repeat(128)); });
  s.listen(0, "127.0.0.1", () => process.send!((s.address() as any).port));
  process.on("disconnect", () => process.exit(0));
} else {
  const child = fork(import.meta.filename, ["server"], { execArgv: process.execArgv });
  const port: number = await new Promise((r) => child.once("message", r as any));
  const c = cluster("c", { endpoints: [endpoint(`127.0.0.1:${port}`)] });
  const w = clientWorld(meshConfig({ outbound: [listener("reviews:80", [route(forward("c", {retry: retryPolicy()}))])], clusters: [c] }));
  const pool = new Pool(`http://127.0.0.1:${port}`, { connections: 50 });
  const headers = { "user-agent": "bench", accept: "*/*", "x-request-id": "abcdefgh" };
  const plain = () => request(`http://127.0.0.1:${port}/a/b`, { dispatcher: pool, headers }).then((r) => r.body.dump());
  const mesh = () => request(`http://reviews/a/b`, { dispatcher: w.dispatcher, headers }).then((r) => r.body.dump());
  const run = async (fn: () => Promise<any>, n: number, conc: number) => {
    global.gc?.();
    const h0 = process.memoryUsage().heapUsed; 
    const c0 = process.cpuUsage(); let left = n;
    let alloc = 0; 
    await Promise.all(Array.from({ length: conc }, async () => { while (left-- > 0) await fn(); }));
    const c1 = process.cpuUsage(c0);
    return { us: (c1.user + c1.system) / n };
  };
  const alloc = async (fn: () => Promise<any>) => { // bytes per request w/o gc
    const n = 300; global.gc!(); const a = process.memoryUsage().heapUsed; for (let i = 0; i < n; i++) await fn(); return (process.memoryUsage().heapUsed - a) / n; };
  for (const fn of [plain, mesh, plain, mesh]) await run(fn, 8000, 50);
  const r: number[][] = [[], []];
  for (let i = 0; i < 7; i++) { r[0]!.push((await run(plain, 10000, 50)).us); r[1]!.push((await run(mesh, 10000, 50)).us); }
  const med = (x: number[]) => x.sort((a, b) => a - b)[x.length >> 1]!;
  console.log("plain us", med(r[0]!).toFixed(2), "mesh us", med(r[1]!).toFixed(2), "added", (med(r[1]!) - med(r[0]!)).toFixed(2));
  const al: number[][] = [[], []];
  for (let i = 0; i < 9; i++) { al[0]!.push(await alloc(plain)); al[1]!.push(await alloc(mesh)); }
  console.log("alloc plain", med(al[0]!).toFixed(0), "mesh", med(al[1]!).toFixed(0), "added", (med(al[1]!) - med(al[0]!)).toFixed(0));
  child.disconnect(); await w.close(); await pool.close();
}
