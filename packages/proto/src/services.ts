import type { MethodDefinition } from "@grpc/grpc-js";

import { AggregatedDiscoveryService } from "../gen/envoy/service/discovery/v3/ads_pb.js";
import type {
  DeltaDiscoveryRequest,
  DeltaDiscoveryResponse,
  DiscoveryRequest,
  DiscoveryResponse,
} from "../gen/envoy/service/discovery/v3/discovery_pb.js";
import {
  type IstioCertificateRequest,
  type IstioCertificateResponse,
  IstioCertificateService,
} from "../gen/istio/v1/auth/ca_pb.js";
import { grpcMethod } from "./grpc-method.ts";

// Type literals, not interfaces: grpc-js asks for an index signature, which only they have.

/** `envoy.service.discovery.v3.AggregatedDiscoveryService`: all of xDS on one stream, whole states or deltas. */
export const aggregatedDiscoveryService: {
  readonly StreamAggregatedResources: MethodDefinition<DiscoveryRequest, DiscoveryResponse>;
  readonly DeltaAggregatedResources: MethodDefinition<DeltaDiscoveryRequest, DeltaDiscoveryResponse>;
} = {
  StreamAggregatedResources: grpcMethod(AggregatedDiscoveryService.method.streamAggregatedResources),
  DeltaAggregatedResources: grpcMethod(AggregatedDiscoveryService.method.deltaAggregatedResources),
};

/** `istio.v1.auth.IstioCertificateService`: a signing request in, a chain of certificates out. */
export const istioCertificateService: {
  readonly CreateCertificate: MethodDefinition<IstioCertificateRequest, IstioCertificateResponse>;
} = {
  CreateCertificate: grpcMethod(IstioCertificateService.method.createCertificate),
};
