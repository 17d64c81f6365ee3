// The messages that the data plane needs, without protobuf-es at run time: its types, our own reader and writer. docs/adr/0001.
export * from "../../gen/lean_pb.js";
export { typeUrls } from "../type-urls.ts";
export { decode } from "./decode.ts";
export { encode } from "./encode.ts";
export { decodeJson } from "./json.ts";
export { type LeanInit, create } from "./message.ts";
export { aggregatedDiscoveryService, type GrpcMethod, istioCertificateService } from "./services.ts";
