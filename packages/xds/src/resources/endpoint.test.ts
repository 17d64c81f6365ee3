import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import type { EndpointSet } from "@trama/engine";
import type { ClusterLoadAssignment } from "@trama/proto/envoy/config/endpoint/v3/endpoint_pb.js";
import { ClusterLoadAssignmentSchema } from "@trama/proto/envoy/config/endpoint/v3/endpoint_pb.js";
import * as fc from "fast-check";
import { expect, test } from "vitest";

import { assignment, locality, socketAddress } from "../../../../test/kit/xds-resources.ts";
import { plain } from "../../test/plain-endpoints.ts";
import { endpointType } from "./endpoint.ts";
import { ResourceError } from "./error.ts";

const options = { regex: () => undefined, certificateProviders: new Set<string>() };

function read(message: ClusterLoadAssignment): EndpointSet {
  return endpointType.decode(toBinary(ClusterLoadAssignmentSchema, message), options).value;
}

const one = { address: "10.0.0.1", port: 80 };

test("addresses, health, weights and Istio's metadata", () => {
  const set = read(
    assignment("c", [
      { ...one, tlsMode: "istio", workload: "w;ns;svc;rev;cl", weight: 3 },
      { address: "fd00::1", port: 8080, health: 3 },
      { address: "10.0.0.2", port: 80, health: 2 },
      { address: "10.0.0.3", port: 80, health: 1 },
      { address: "10.0.0.4", port: 80, health: 4 },
    ]),
  );
  expect(set.name).toBe("c");
  const endpoints = set.priorities[0]?.[0]?.endpoints;
  expect(plain(set).priorities[0]?.[0]?.endpoints[0]).toEqual({
    address: "10.0.0.1:80",
    host: "10.0.0.1",
    port: 80,
    weight: 3,
    health: "healthy",
    tlsMode: "istio",
    workload: "w;ns;svc;rev;cl",
  });
  expect(endpoints?.[1]).toMatchObject({ address: "[fd00::1]:8080", host: "fd00::1", health: "draining", weight: 1 });
  expect(endpoints?.map((endpoint) => endpoint.health).slice(2)).toEqual(["unhealthy", "healthy", "unhealthy"]);
});

test("a workload is that of its own endpoint, whether or not it is the one of the endpoint before", () => {
  const names = ["w;ns", "w;ns", "", "w;ns", "w;nt", "w;n", "é;ns", "é;ns", "Ã©;ns", "w;ns"];
  const set = read(
    assignment(
      "c",
      names.map((workload, at) => ({ address: `10.0.0.${at}`, port: 80, ...(workload !== "" && { workload }) })),
    ),
  );
  expect(set.priorities[0]![0]!.endpoints.map(({ workload }) => workload)).toEqual(names);
});

test("no endpoints is unreachable, not invalid; a locality without weight is skipped (R43)", () => {
  expect(read(assignment("c", [])).priorities).toEqual([]);
  const weightless = create(ClusterLoadAssignmentSchema, {
    clusterName: "c",
    endpoints: [locality([one], { loadBalancingWeight: 0 })],
  });
  expect(read(weightless).priorities).toEqual([]);
});

test.each<[string, ClusterLoadAssignment["endpoints"][number][] | object[], string]>([
  ["a gap in the priorities", [locality([one], { priority: 1 })], "priority 0 is missing"],
  ["the same locality twice", [locality([one]), locality([{ ...one, port: 81 }])], "is there twice"],
  ["the same address twice", [locality([one, one])], "address 10.0.0.1:80 is there twice"],
  [
    "the same address in two localities",
    [locality([one]), locality([one], { locality: { region: "x" } as never })],
    "address 10.0.0.1:80 is there twice",
  ],
  [
    "weights beyond 2^32-1",
    [
      locality([one], { loadBalancingWeight: 0xffff_ffff }),
      locality([{ ...one, port: 81 }], { loadBalancingWeight: 1, locality: { region: "x" } as never }),
    ],
    "more than 2^32-1",
  ],
  ["an endpoint of weight zero", [locality([{ ...one, weight: 0 }])], "load_balancing_weight must be at least 1"],
  ["port zero", [locality([{ address: "10.0.0.1", port: 0 }])], "port 0"],
  ["an empty address", [locality([{ address: "", port: 1 }])], "the address is empty"],
  ["a priority past Envoy's bound", [locality([one], { priority: 4_000_000_000 })], "greater than 128"],
])("refused: %s (R43)", (_name, endpoints, message) => {
  const broken = create(ClusterLoadAssignmentSchema, { clusterName: "c", endpoints: endpoints as never });
  expect(() => read(broken)).toThrow(ResourceError);
  expect(() => read(broken)).toThrow(message);
});

test("drops are parts of a million, in order (R49)", () => {
  const set = read(
    create(ClusterLoadAssignmentSchema, {
      clusterName: "c",
      policy: {
        dropOverloads: [
          { category: "lb", dropPercentage: { numerator: 5, denominator: 0 } },
          { category: "throttle", dropPercentage: { numerator: 7, denominator: 2 } },
        ],
      },
    }),
  );
  expect(set.drops).toEqual([
    { category: "lb", perMillion: 50_000 },
    { category: "throttle", perMillion: 7 },
  ]);
});

test("the hand-written reader and the generated one agree", () => {
  const endpoint = fc.record({
    port: fc.integer({ min: 1, max: 65_535 }),
    tlsMode: fc.constantFrom("istio", "disabled"),
    workload: fc.string({ maxLength: 20 }),
    weight: fc.integer({ min: 1, max: 1_000 }),
    health: fc.integer({ min: 0, max: 5 }),
    name: fc.string({ maxLength: 20 }),
  });
  const place = fc.record({ weight: fc.integer({ min: 1, max: 9 }), endpoints: fc.array(endpoint, { maxLength: 5 }) });
  fc.assert(
    fc.property(fc.array(fc.array(place, { minLength: 1, maxLength: 3 }), { maxLength: 3 }), (priorities) => {
      let host = 0;
      const message = create(ClusterLoadAssignmentSchema, {
        clusterName: "outbound|80||a.b",
        endpoints: priorities.flatMap((places, priority) =>
          places.map(({ weight, endpoints }, index) =>
            locality(
              endpoints.map((one) => ({ ...one, address: `10.0.${host >> 8}.${host++ & 255}` })),
              { priority, loadBalancingWeight: weight, locality: { region: "r", zone: `z${index}` } as never },
            ),
          ),
        ),
      });
      // Things of no concern must be passed over.
      for (const { lbEndpoints } of message.endpoints) {
        for (const { metadata } of lbEndpoints) {
          if (!metadata) continue;
          metadata.filterMetadata["other"] = { deep: { list: [1, null, true, { x: "tlsMode" }] } };
          if (host % 2 === 0) metadata.filterMetadata["envoy.lb"] = { canary: true, hash_key: `key-${host}` };
        }
      }
      const bytes = toBinary(ClusterLoadAssignmentSchema, message);
      expect(plain(endpointType.decode(bytes, options).value)).toEqual(
        expected(fromBinary(ClusterLoadAssignmentSchema, bytes)),
      );
    }),
    { numRuns: 100, seed: 1 },
  );
});

const text = (value: unknown): string => (typeof value === "string" ? value : "");

/** The same over the generated message, without validation. */
function expected(message: ClusterLoadAssignment): EndpointSet {
  const priorities: EndpointSet["priorities"][number][] = [];
  for (const group of message.endpoints) {
    const row = [...(priorities[group.priority] ?? [])];
    row.push({
      locality: {
        region: group.locality?.region ?? "",
        zone: group.locality?.zone ?? "",
        subZone: group.locality?.subZone ?? "",
      },
      weight: group.loadBalancingWeight ?? 0,
      endpoints: group.lbEndpoints.map((one) => {
        const address = one.hostIdentifier.case === "endpoint" ? one.hostIdentifier.value.address?.address : undefined;
        const socket = address?.case === "socketAddress" ? address.value : undefined;
        const port = Number(socket?.portSpecifier.value);
        const metadata = one.metadata?.filterMetadata;
        return {
          address: `${socket?.address}:${port}`,
          host: socket?.address ?? "",
          port,
          weight: one.loadBalancingWeight ?? 1,
          health: one.healthStatus <= 1 ? "healthy" : one.healthStatus === 3 ? "draining" : "unhealthy",
          tlsMode: text(metadata?.["envoy.transport_socket_match"]?.["tlsMode"]),
          workload: text(metadata?.["istio"]?.["workload"]),
          ...(metadata?.["envoy.lb"] && { hashKey: text(metadata["envoy.lb"]["hash_key"]) }),
        };
      }),
    });
    priorities[group.priority] = row;
  }
  return { name: message.clusterName, priorities, drops: [] };
}

test("broken bytes are a ResourceError, never anything else", () => {
  const good = toBinary(
    ClusterLoadAssignmentSchema,
    assignment("c", [
      { ...one, tlsMode: "istio", workload: "w" },
      { address: "10.0.0.2", port: 1 },
    ]),
  );
  const attempt = (bytes: Uint8Array): void => {
    try {
      endpointType.decode(bytes, options);
    } catch (error) {
      expect(error).toBeInstanceOf(ResourceError);
    }
  };
  for (let length = 0; length < good.length; length++) attempt(good.subarray(0, length));
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => attempt(bytes)),
    { numRuns: 500, seed: 2 },
  );
  const flip = fc.tuple(fc.nat(good.length - 1), fc.nat(255));
  fc.assert(
    fc.property(fc.array(flip, { maxLength: 4 }), (flips) => {
      const bytes = new Uint8Array(good);
      for (const [at, value] of flips) bytes[at] = value;
      attempt(bytes);
    }),
    { numRuns: 1_000, seed: 3 },
  );
});

test("a Unix socket is an endpoint without a port; internal addresses are refused by name", () => {
  const withAddress = (address: unknown): ClusterLoadAssignment =>
    create(ClusterLoadAssignmentSchema, {
      clusterName: "c",
      endpoints: [
        {
          loadBalancingWeight: 1,
          lbEndpoints: [{ hostIdentifier: { case: "endpoint", value: { address } } }],
        },
      ] as never,
    });
  const pipe = (path: string): ClusterLoadAssignment => withAddress({ address: { case: "pipe", value: { path } } });
  for (const path of ["/run/reviews.sock", "@reviews", `/${"x".repeat(106)}`])
    expect(read(pipe(path)).priorities[0]![0]!.endpoints[0]).toMatchObject({ address: path, host: path, port: 0 });
  for (const path of ["run/x", "/", "@", "/x\0y", `/${"x".repeat(107)}`])
    expect(() => read(pipe(path)), path).toThrow("pipe.path");
  expect(() => read(pipe(""))).toThrow("the address is empty");
  expect(() => read(withAddress({ address: { case: "envoyInternalAddress", value: {} } }))).toThrow("envoy_internal");
  expect(read(withAddress(socketAddress("1.1.1.1", 1))).priorities).toHaveLength(1);
});
