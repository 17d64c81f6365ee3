import { Client, credentials } from "@grpc/grpc-js";
import { joinMesh } from "trama";
import { meshClientOptions } from "trama/grpc";
import { ratingsHost } from "../world.ts";
import { serveClients } from "./grpc-load.ts";
import type { CallKind } from "./grpc-service.ts";

/** Joins by its environment. Argument: kind of call. */
const [kind = "unary"] = process.argv.slice(2);
const mesh = await joinMesh();
const client = new Client(ratingsHost, credentials.createInsecure(), meshClientOptions(mesh));

await serveClients([client], kind as CallKind, () => mesh.close({ deadlineMs: 5_000 }));
