import { fileURLToPath } from "node:url";
import {
  type Client,
  type ClientOptions,
  type ChannelCredentials,
  type GrpcObject,
  loadPackageDefinition,
  type Server,
  type ServiceError,
} from "@grpc/grpc-js";
import { loadSync } from "@grpc/proto-loader";

/** What `ratings.proto` says, in TypeScript. A generator (`proto-loader-gen-types`, `ts-proto`, `protoc-gen-grpc`) would write this. */
export interface Rating {
  readonly stars: number;
  readonly votes: number;
}

type Answer<T> = (error: ServiceError | null, value?: T) => void;

export interface RatingsClient extends Client {
  get(request: { book: string }, done: Answer<Rating>): unknown;
  rate(request: { book: string; stars: number }, done: Answer<Rating>): unknown;
}

interface RatingsConstructor {
  new (target: string, credentials: ChannelCredentials, options?: ClientOptions): RatingsClient;
  readonly service: Parameters<Server["addService"]>[0];
}

const file = fileURLToPath(new URL("ratings.proto", import.meta.url));
const { v1 } = loadPackageDefinition(loadSync(file))["bookshop"] as GrpcObject;

export const Ratings: RatingsConstructor = (v1 as GrpcObject)["Ratings"] as unknown as RatingsConstructor;
