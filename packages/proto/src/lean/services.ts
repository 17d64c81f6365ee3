import type { DescMessage, MessageShape } from "@bufbuild/protobuf";

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

/** A method as a client calls it; definitions of `@grpc/grpc-js` are of this form too. */
export interface GrpcMethod<Request, Response> {
  readonly path: string;
  readonly requestSerialize: (request: Request) => Buffer;
  readonly responseDeserialize: (bytes: Buffer) => Response;
}

const ads = "/envoy.service.discovery.v3.AggregatedDiscoveryService";

/** Like those of the package's main entry, on the lean codec. */
export const aggregatedDiscoveryService: {
  readonly StreamAggregatedResources: GrpcMethod<DiscoveryRequest, DiscoveryResponse>;
  readonly DeltaAggregatedResources: GrpcMethod<DeltaDiscoveryRequest, DeltaDiscoveryResponse>;
} = {
  StreamAggregatedResources: method(
    `${ads}/StreamAggregatedResources`,
    DiscoveryRequestSchema,
    DiscoveryResponseSchema,
  ),
  DeltaAggregatedResources: method(
    `${ads}/DeltaAggregatedResources`,
    DeltaDiscoveryRequestSchema,
    DeltaDiscoveryResponseSchema,
  ),
};

/** `istio.v1.auth.IstioCertificateService`: a signing request in, a chain of certificates out. */
export const istioCertificateService: {
  readonly CreateCertificate: GrpcMethod<IstioCertificateRequest, IstioCertificateResponse>;
} = {
  CreateCertificate: method(
    "/istio.v1.auth.IstioCertificateService/CreateCertificate",
    IstioCertificateRequestSchema,
    IstioCertificateResponseSchema,
  ),
};

function method<I extends DescMessage, O extends DescMessage>(
  path: string,
  input: LeanSchema<I>,
  output: LeanSchema<O>,
): GrpcMethod<MessageShape<I>, MessageShape<O>> {
  return {
    path,
    requestSerialize: (message) => encode(input, message),
    responseDeserialize: (bytes) => decode(output, bytes),
  };
}
