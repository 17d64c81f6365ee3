import { create, fromBinary, hasExtension, toBinary, toJson } from "@bufbuild/protobuf";
import { anyPack, anyUnpack } from "@bufbuild/protobuf/wkt";
import * as grpc from "@grpc/grpc-js";
import { aggregatedDiscoveryService, istioCertificateService, loadRegistry, typeUrlOf, typeUrls } from "@trama/proto";
import { HeaderValueSchema } from "@trama/proto/envoy/config/core/v3/base_pb.js";
import { ClusterSchema } from "@trama/proto/envoy/config/cluster/v3/cluster_pb.js";
import { ClusterLoadAssignmentSchema } from "@trama/proto/envoy/config/endpoint/v3/endpoint_pb.js";
import { ListenerSchema } from "@trama/proto/envoy/config/listener/v3/listener_pb.js";
import { RouteConfigurationSchema } from "@trama/proto/envoy/config/route/v3/route_pb.js";
import { SecretSchema } from "@trama/proto/envoy/extensions/transport_sockets/tls/v3/secret_pb.js";
import {
  DeltaDiscoveryRequestSchema,
  DeltaDiscoveryResponseSchema,
} from "@trama/proto/envoy/service/discovery/v3/discovery_pb.js";
import { IstioCertificateRequestSchema, IstioCertificateResponseSchema } from "@trama/proto/istio/v1/auth/ca_pb.js";
import { rules } from "@trama/proto/validate/validate_pb.js";
import { expect, test } from "vitest";

test("a delta request survives the wire", () => {
  const request = create(DeltaDiscoveryRequestSchema, {
    node: { id: "sidecar~10.0.0.1~web.shop~shop.svc.cluster.local", cluster: "web.shop" },
    typeUrl: typeUrls.cluster,
    resourceNamesSubscribe: ["outbound|80||reviews.shop.svc.cluster.local"],
    initialResourceVersions: { a: "1" },
    responseNonce: "n1",
    errorDetail: { code: 3, message: "no" },
  });
  const method = aggregatedDiscoveryService.DeltaAggregatedResources;
  expect(method).toMatchObject({
    path: "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources",
    requestStream: true,
    responseStream: true,
  });
  const bytes = method.requestSerialize(request);
  expect(bytes).toBeInstanceOf(Buffer);
  expect(method.requestDeserialize(bytes)).toEqual(request);
});

test("an Any of a delta response unpacks to its Listener, by schema and by registry", async () => {
  const listener = create(ListenerSchema, {
    name: "reviews:80",
    address: {
      address: {
        case: "socketAddress",
        value: { address: "0.0.0.0", portSpecifier: { case: "portValue", value: 80 } },
      },
    },
  });
  const bytes = toBinary(
    DeltaDiscoveryResponseSchema,
    create(DeltaDiscoveryResponseSchema, {
      typeUrl: typeUrls.listener,
      resources: [{ name: listener.name, version: "7", resource: anyPack(ListenerSchema, listener) }],
    }),
  );
  const resource = fromBinary(DeltaDiscoveryResponseSchema, bytes).resources[0]?.resource;
  if (resource === undefined) throw new Error("the resource is lost");
  expect(resource.typeUrl).toBe(typeUrls.listener);
  expect(anyUnpack(resource, ListenerSchema)).toEqual(listener);

  const registry = await loadRegistry();
  expect(anyUnpack(resource, registry)).toEqual(listener);
  expect(
    toJson(DeltaDiscoveryResponseSchema, fromBinary(DeltaDiscoveryResponseSchema, bytes), { registry }),
  ).toMatchObject({
    resources: [{ resource: { "@type": typeUrls.listener, name: "reviews:80" } }],
  });
});

test("the constants are the names of the generated types", () => {
  expect(Object.values(typeUrls)).toEqual(
    [ListenerSchema, RouteConfigurationSchema, ClusterSchema, ClusterLoadAssignmentSchema, SecretSchema].map(typeUrlOf),
  );
});

test("Envoy's validation rules are readable by reflection, the newer ignore_empty included", () => {
  const options = HeaderValueSchema.field.key.proto.options;
  if (options === undefined) throw new Error("the options are lost");
  expect(hasExtension(options, rules)).toBe(true);
});

test("a certificate request goes over a real gRPC connection", async () => {
  const server = new grpc.Server();
  server.addService(istioCertificateService, {
    CreateCertificate: ((call, answer) => {
      answer(
        null,
        create(IstioCertificateResponseSchema, {
          certChain: [call.request.csr, String(call.request.validityDuration)],
        }),
      );
    }) satisfies grpc.handleUnaryCall<ReturnType<typeof request>, ReturnType<typeof response>>,
  });
  const port = await new Promise<number>((resolve, reject) => {
    server.bindAsync("127.0.0.1:0", grpc.ServerCredentials.createInsecure(), (error, bound) =>
      error === null ? resolve(bound) : reject(error),
    );
  });
  const client = new grpc.Client(`127.0.0.1:${port}`, grpc.credentials.createInsecure());
  try {
    const { path, requestSerialize, responseDeserialize } = istioCertificateService.CreateCertificate;
    const answer = await new Promise((resolve, reject) => {
      client.makeUnaryRequest(path, requestSerialize, responseDeserialize, request(), (error, value) =>
        error === null ? resolve(value) : reject(error),
      );
    });
    expect(answer).toEqual(response("csr", "86400"));
  } finally {
    client.close();
    server.forceShutdown();
  }
});

function request() {
  return create(IstioCertificateRequestSchema, { csr: "csr", validityDuration: 86_400n });
}

function response(...certChain: string[]) {
  return create(IstioCertificateResponseSchema, { certChain });
}
