import {
  type sendUnaryData,
  Server,
  ServerCredentials,
  type ServerUnaryCall,
  status,
  type UntypedServiceImplementation,
} from "@grpc/grpc-js";
import { joinMesh } from "trama";
import { protectGrpc } from "trama/grpc";
import { type Rating, Ratings } from "./ratings-api.ts";
import { report } from "./report.ts";

/** Every n-th answer is UNAVAILABLE: the mesh of the caller tries again, as the policy says. */
const failEvery = 25;

const mesh = await joinMesh();
mesh.closeOnSignals();

let served = 0;
const votes = new Map<string, number[]>([["Solaris", [5, 4, 5]]]);
const ratingOf = (book: string): Rating => {
  const all = votes.get(book) ?? [];
  return { votes: all.length, stars: all.reduce((sum, each) => sum + each, 0) / Math.max(1, all.length) };
};

const implementation: UntypedServiceImplementation = {
  get(call: ServerUnaryCall<{ book: string }, Rating>, done: sendUnaryData<Rating>) {
    if (++served % failEvery === 0) done({ code: status.UNAVAILABLE, details: "counting votes" });
    else done(null, ratingOf(call.request.book));
  },
  rate(call: ServerUnaryCall<{ book: string; stars: number }, Rating>, done: sendUnaryData<Rating>) {
    const { book, stars } = call.request;
    votes.set(book, [...(votes.get(book) ?? []), stars]);
    done(null, ratingOf(book));
  },
};

const server = protectGrpc(mesh, new Server());
server.addService(Ratings.service, implementation);
const port = await new Promise<number>((resolve, reject) =>
  server.bindAsync("127.0.0.1:0", ServerCredentials.createInsecure(), (error, bound) =>
    error === null ? resolve(bound) : reject(error),
  ),
);
await mesh.ready();
await report(mesh, port);
