import type { DescMessage, MessageShape } from "@bufbuild/protobuf";
import type { MethodDefinition } from "@grpc/grpc-js";

import type {
  DeltaDiscoveryRequest,
  DeltaDiscoveryResponse,
  DiscoveryRequest,
  DiscoveryResponse,
} from "../../gen/envoy/service/discovery/v3/discovery_pb.js";
import type { IstioCertificateRequest, IstioCertificateResponse } from "../../gen/istio/v1/auth/ca_pb.js";
import {
  DeltaDiscoveryRequestSchema,
  DeltaDiscoveryResponseSchema,
  DiscoveryRequestSchema,
  DiscoveryResponseSchema,
  IstioCertificateRequestSchema,
  IstioCertificateResponseSchema,
  type LeanSchema,
} from "../../gen/lean_pb.js";
import { decode } from "./decode.ts";
import { encode } from "./encode.ts";

const ads = "/envoy.service.discovery.v3.AggregatedDiscoveryService";

/** Like those of the package's main entry, on the lean codec. */
export const aggregatedDiscoveryService: {
  readonly StreamAggregatedResources: MethodDefinition<DiscoveryRequest, DiscoveryResponse>;
  readonly DeltaAggregatedResources: MethodDefinition<DeltaDiscoveryRequest, DeltaDiscoveryResponse>;
} = {
  StreamAggregatedResources: method(
    `${ads}/StreamAggregatedResources`,
    DiscoveryRequestSchema,
    DiscoveryResponseSchema,
    true,
  ),
  DeltaAggregatedResources: method(
    `${ads}/DeltaAggregatedResources`,
    DeltaDiscoveryRequestSchema,
    DeltaDiscoveryResponseSchema,
    true,
  ),
};

/** `istio.v1.auth.IstioCertificateService`: a signing request in, a chain of certificates out. */
export const istioCertificateService: {
  readonly CreateCertificate: MethodDefinition<IstioCertificateRequest, IstioCertificateResponse>;
} = {
  CreateCertificate: method(
    "/istio.v1.auth.IstioCertificateService/CreateCertificate",
    IstioCertificateRequestSchema,
    IstioCertificateResponseSchema,
    false,
  ),
};

function method<I extends DescMessage, O extends DescMessage>(
  path: string,
  input: LeanSchema<I>,
  output: LeanSchema<O>,
  streams: boolean,
): MethodDefinition<MessageShape<I>, MessageShape<O>> {
  return {
    path,
    requestStream: streams,
    responseStream: streams,
    requestSerialize: (message) => encode(input, message),
    requestDeserialize: (bytes) => decode(input, bytes),
    responseSerialize: (message) => encode(output, message),
    responseDeserialize: (bytes) => decode(output, bytes),
  };
}
