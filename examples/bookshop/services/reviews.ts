import type { AddressInfo } from "node:net";
import { promisify } from "node:util";
import { credentials } from "@grpc/grpc-js";
import Fastify from "fastify";
import { joinMesh } from "trama";
import { serverFactory } from "trama/fastify";
import { meshClientOptions } from "trama/grpc";
import { Ratings } from "./ratings-api.ts";
import { report } from "./report.ts";

/** Every n-th answer is a 503: the mesh retries it, and nobody in the shop notices. */
const failEvery = 25;

const mesh = await joinMesh();
mesh.closeOnSignals();

/** Transport security is the mesh's business, so the client brings none. */
const ratings = new Ratings("ratings:9090", credentials.createInsecure(), meshClientOptions(mesh));
const ratingOf = promisify(ratings.get.bind(ratings));

const app = Fastify({ serverFactory: serverFactory(mesh) });
let served = 0;
app.get("/reviews", async (_request, reply) => {
  if (++served % failEvery === 0) return reply.code(503).send({ error: "out of reviews for a moment" });
  const rating = await ratingOf({ book: "Solaris" });
  return { ...rating, text: "could not put it down" };
});

await app.listen({ port: 0, host: "127.0.0.1" });
await mesh.ready();
await report(mesh, (app.server.address() as AddressInfo).port);
