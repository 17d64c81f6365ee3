import type { AddressInfo } from "node:net";
import Fastify from "fastify";
import { joinMesh } from "trama";
import { serverFactory } from "trama/fastify";
import { report } from "./report.ts";

const version = process.env["CATALOG_VERSION"] ?? "v1";
const books = ["The Left Hand of Darkness", "Solaris", "Kindred"];

const mesh = await joinMesh();
mesh.closeOnSignals();

const app = Fastify({ serverFactory: serverFactory(mesh) });
app.get("/books", () => ({ version, books: version === "v2" ? books.toSorted() : books }));

await app.listen({ port: 0, host: "127.0.0.1" });
await mesh.ready();
await report(mesh, (app.server.address() as AddressInfo).port);
