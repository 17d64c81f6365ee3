import type { AddressInfo } from "node:net";
import Fastify from "fastify";
import { joinMesh } from "trama";
import { serverFactory } from "trama/fastify";
import { report } from "./report.ts";

/** Every n-th answer is a 503: the mesh retries it, and nobody in the shop notices. */
const failEvery = 25;

const mesh = await joinMesh();
mesh.closeOnSignals();

const app = Fastify({ serverFactory: serverFactory(mesh) });
let served = 0;
app.get("/reviews", (_request, reply) => {
  if (++served % failEvery === 0) return reply.code(503).send({ error: "out of reviews for a moment" });
  return { stars: 5, text: "could not put it down" };
});

await app.listen({ port: 0, host: "127.0.0.1" });
await mesh.ready();
await report(mesh, (app.server.address() as AddressInfo).port);
