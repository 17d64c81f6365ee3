import type { AddressInfo } from "node:net";
import express from "express";
import { joinMesh } from "trama";
import { serve } from "trama/express";
import { report } from "./report.ts";

const mesh = await joinMesh();
mesh.closeOnSignals();

const app = express();

app.get("/", async (request, response) => {
  const preview = request.get("x-preview");
  const headers = preview === undefined ? {} : { "x-preview": preview };
  const [books, reviews] = await Promise.all([
    mesh.fetch("http://catalog:8080/books", { headers }),
    mesh.fetch("http://reviews:8080/reviews"),
  ]);
  if (!books.ok || !reviews.ok) {
    await Promise.all([books.body?.cancel(), reviews.body?.cancel()]);
    response.status(502).json({ catalog: books.status, reviews: reviews.status });
    return;
  }
  const catalog = (await books.json()) as { version: string; books: string[] };
  response.set("x-catalog-version", catalog.version);
  response.json({ books: catalog.books, reviews: await reviews.json() });
});

const server = serve(mesh, app).listen(0, "127.0.0.1", () => {
  void mesh.ready().then(() => report(mesh, (server.address() as AddressInfo).port));
});
