export { grpcMethod } from "./grpc-method.ts";
export { loadRegistry } from "./registry.ts";
export { aggregatedDiscoveryService, istioCertificateService } from "./services.ts";
export { typeUrlOf, typeUrls } from "./type-urls.ts";
