import { Client, credentials } from "@grpc/grpc-js";
import { register, XdsChannelCredentials } from "@grpc/grpc-js-xds";
import { ratingsHost } from "../world.ts";
import { serveClients } from "./grpc-load.ts";
import type { CallKind } from "./grpc-service.ts";

/** gRPC's own xDS client on our control plane; joins by the bootstrap file of its environment. Argument: kind of call. */
const [kind = "unary"] = process.argv.slice(2);
register();
const client = new Client(`xds:///${ratingsHost}`, new XdsChannelCredentials(credentials.createInsecure()));

await serveClients([client], kind as CallKind);
