import type { JsonObject } from "@bufbuild/protobuf";
import { MetadataSchema } from "@trama/proto/envoy/config/core/v3/base_pb.js";
import type { MessageInitShape } from "@bufbuild/protobuf";
import { create, toBinary } from "@bufbuild/protobuf";
import type { FilterConfig, RbacConfig } from "@trama/engine";
import type { PermissionSchema, PrincipalSchema } from "@trama/proto/envoy/config/rbac/v3/rbac_pb.js";
import { ListenerFilterSchema } from "@trama/proto/envoy/config/listener/v3/listener_components_pb.js";
import { ListenerSchema } from "@trama/proto/envoy/config/listener/v3/listener_pb.js";
import { RBACPerRouteSchema, RBACSchema } from "@trama/proto/envoy/extensions/filters/http/rbac/v3/rbac_pb.js";
import { RouterSchema } from "@trama/proto/envoy/extensions/filters/http/router/v3/router_pb.js";
import { StatefulSessionSchema } from "@trama/proto/envoy/extensions/filters/http/stateful_session/v3/stateful_session_pb.js";
import { DownstreamTlsContextSchema } from "@trama/proto/envoy/extensions/transport_sockets/tls/v3/tls_pb.js";
import * as fc from "fast-check";
import { expect, test } from "vitest";

import {
  any,
  downstreamTlsContext,
  faultFilter,
  httpFilter,
  inboundChain,
  inboundListener,
  outboundListener,
  routerFilter,
} from "../../../../test/kit/xds-resources.ts";
import { ResourceError } from "./error.ts";
import { overrideCodecs } from "./filters/kinds.ts";
import { openAny } from "./any.ts";
import { type DecodedInbound, type DecodedListener, listenerType } from "./listener.ts";

const options = { regex: () => undefined, certificateProviders: new Set(["default"]) };

type ListenerMessage = ReturnType<typeof outboundListener>;

function read(message: ListenerMessage): DecodedListener {
  return listenerType.decode(toBinary(ListenerSchema, message), options).value;
}

function inbound(...chains: ReturnType<typeof inboundChain>[]): DecodedInbound {
  const value = read(inboundListener("127.0.0.1", 8080, chains));
  if (value.kind !== "inbound") throw new Error("not inbound");
  return value;
}

const optionalSession = {
  ...httpFilter("session", StatefulSessionSchema, {}),
  isOptional: true,
} as typeof routerFilter;

test("outbound: routes by RDS, filters without the router, the optional unknown one passed over (I17, R34)", () => {
  expect(read(outboundListener("a:1", "r", [optionalSession, faultFilter, routerFilter]))).toEqual({
    kind: "outbound",
    opaque: false,
    http: {
      routes: { rds: "r" },
      filters: [
        {
          name: "envoy.filters.http.fault",
          disabled: false,
          config: { kind: "fault", delay: undefined, abort: undefined, headers: [], maxActive: undefined },
        },
      ],
    },
  });
});

test.each<[string, (typeof routerFilter)[], string]>([
  ["no router", [faultFilter], "the last filter must be the router"],
  ["a router that is not last", [routerFilter, faultFilter], "http_filters[0]: the router must be the last filter"],
  ["two routers", [httpFilter("a", RouterSchema, {}), routerFilter], "the router must be the last filter"],
  ["the same name twice", [faultFilter, faultFilter, routerFilter], "is there twice"],
  [
    "an unknown filter",
    [httpFilter("x", StatefulSessionSchema, {}), routerFilter],
    "StatefulSession) is not supported",
  ],
  ["a server's filter", [httpFilter("rbac", RBACSchema, {}), routerFilter], "is not supported outbound"],
])("refused: %s (R34)", (_name, filters, message) => {
  expect(() => read(outboundListener("a:1", "r", filters))).toThrow(ResourceError);
  expect(() => read(outboundListener("a:1", "r", filters))).toThrow(message);
});

const mtls = {
  filterChainMatch: { transportProtocol: "tls" },
  transportSocket: { name: "tls", configType: { case: "typedConfig", value: downstreamTlsContext() } },
} as never;

test("inbound: mTLS and plaintext chains of one port, as docs/wire.md writes them", () => {
  const plaintext = inboundChain("inbound-plaintext", [], {
    filterChainMatch: { transportProtocol: "raw_buffer" },
  } as never);
  const listener = inbound(inboundChain("inbound-mtls", [], mtls), plaintext);
  expect(listener).toMatchObject({
    address: "127.0.0.1:8080",
    defaultChain: undefined,
    chains: [
      {
        name: "inbound-mtls",
        match: { transportProtocol: "tls" },
        tls: { identity: "default", trust: "default", requireClientCertificate: true },
      },
      { name: "inbound-plaintext", match: { transportProtocol: "raw_buffer" }, tls: undefined },
    ],
  });
  const [chain] = listener.chains;
  expect(chain?.http.routes).toMatchObject({ virtualHosts: [{ routes: [{ action: { kind: "non_forwarding" } }] }] });
});

test("inbound: limits of the port come as metadata; what is no limit is refused", () => {
  const limitsOf = (limits: JsonObject | undefined): unknown => {
    const filterMetadata = limits === undefined ? {} : { "trama.inbound_limits": limits };
    const listener = inboundListener("127.0.0.1", 8080, [inboundChain("inbound-plaintext", [])]);
    listener.metadata = create(MetadataSchema, { filterMetadata });
    return (read(listener) as DecodedInbound).limits;
  };
  expect(limitsOf(undefined)).toBeUndefined();
  expect(limitsOf({ max_connections: 7 })).toEqual({ maxConnections: 7, maxRequests: undefined });
  expect(limitsOf({ max_requests: 1, max_connections: 2 })).toEqual({ maxConnections: 2, maxRequests: 1 });
  for (const max of [0, 1.5, -1, "1"])
    expect(() => limitsOf({ max_requests: max })).toThrow(
      "metadata: trama.inbound_limits.max_requests is no whole number",
    );
});

test("a chain that asks for a server name never matches; two with the same match are refused (R61)", () => {
  const sni = inboundChain("sni", [], { filterChainMatch: { serverNames: ["x"] } } as never);
  expect(inbound(sni, inboundChain("plain")).chains.map((chain) => chain.name)).toEqual(["plain"]);
  expect(() => inbound(inboundChain("a"), inboundChain("b"))).toThrow('"b" has the same filter_chain_match');
});

test("refused: listener filters, other network filters, several of them, no chain (S44)", () => {
  const message = inboundListener("127.0.0.1", 8080, [inboundChain("a")]);
  message.listenerFilters.push(create(ListenerFilterSchema, { name: "tls_inspector" }));
  expect(() => read(message)).toThrow("listener_filters is not supported");
  const other = { name: "echo", configType: { case: "typedConfig", value: any(RouterSchema, {}) } };
  expect(() => inbound({ ...inboundChain("a"), filters: [other] } as never)).toThrow("Router is not supported");
  expect(() => inbound({ ...inboundChain("a"), filters: [] } as never)).toThrow("must hold one HttpConnectionManager");
  expect(() => inbound()).toThrow("there is no filter chain");
  const demanding = any(DownstreamTlsContextSchema, {
    requireClientCertificate: true,
    commonTlsContext: { tlsCertificateProviderInstance: { instanceName: "default" } },
  });
  const chain = inboundChain("a", [], {
    transportSocket: { name: "tls", configType: { case: "typedConfig", value: demanding } },
  } as never);
  expect(() => inbound(chain)).toThrow("require_client_certificate needs a validation context");
});

// ── RBAC (R55–R58) ───────────────────────────────────────────────────────────────────────────────────────────────

type PermissionInit = MessageInitShape<typeof PermissionSchema>;
type PrincipalInit = MessageInitShape<typeof PrincipalSchema>;

const anyone: PrincipalInit = { identifier: { case: "any", value: true } };
const anything: PermissionInit = { rule: { case: "any", value: true } };

function filterOf(permissions: PermissionInit[], principals: PrincipalInit[]): FilterConfig | undefined {
  const rules = { action: 0, policies: { "ns-name-0": { permissions, principals } } };
  const listener = inbound(inboundChain("a", [httpFilter("envoy.filters.http.rbac", RBACSchema, { rules } as never)]));
  return listener.chains[0]?.http.filters[0];
}

const rbacOf = (permissions: PermissionInit[], principals: PrincipalInit[]): RbacConfig =>
  filterOf(permissions, principals)?.config as RbacConfig;

test("an ALLOW policy as Istio writes it (I24)", () => {
  const exact = (value: string) => ({ matchPattern: { case: "exact", value } }) as never;
  const filter = filterOf(
    [
      {
        rule: {
          case: "andRules",
          value: {
            rules: [
              {
                rule: {
                  case: "header",
                  value: { name: ":method", headerMatchSpecifier: { case: "stringMatch", value: exact("GET") } },
                },
              },
              {
                rule: {
                  case: "urlPath",
                  value: { rule: { case: "path", value: { matchPattern: { case: "prefix", value: "/a" } } } },
                },
              },
              { rule: { case: "destinationPortRange", value: { start: 80, end: 90 } } },
              { rule: { case: "notRule", value: { rule: { case: "destinationPort", value: 81 } } } },
            ],
          },
        },
      } as PermissionInit,
    ],
    [
      {
        identifier: {
          case: "orIds",
          value: {
            ids: [
              { identifier: { case: "authenticated", value: { principalName: exact("spiffe://td/ns/a/sa/b") } } },
              { identifier: { case: "directRemoteIp", value: { addressPrefix: "10.0.0.0", prefixLen: 8 } } },
            ],
          },
        },
      } as PrincipalInit,
    ],
  );
  expect(filter).toEqual({
    name: "envoy.filters.http.rbac",
    disabled: false,
    config: {
      kind: "rbac",
      rules: {
        action: "allow",
        policies: [
          {
            name: "ns-name-0",
            permissions: [
              {
                kind: "and",
                of: [
                  {
                    kind: "header",
                    match: {
                      name: ":method",
                      test: { kind: "string", match: { kind: "exact", value: "GET", ignoreCase: false } },
                      invert: false,
                      missingIsEmpty: false,
                    },
                  },
                  { kind: "path", match: { kind: "prefix", value: "/a", ignoreCase: false } },
                  { kind: "destination_port", from: 80, to: 89 },
                  { kind: "not", of: { kind: "destination_port", from: 81, to: 81 } },
                ],
              },
            ],
            principals: [
              {
                kind: "or",
                of: [
                  {
                    kind: "authenticated",
                    match: { kind: "exact", value: "spiffe://td/ns/a/sa/b", ignoreCase: false },
                  },
                  { kind: "source_ip", cidr: { address: "10.0.0.0", bits: 8 } },
                ],
              },
            ],
          },
        ],
      },
    },
  });
});

test("no rules is a no-op, rules without policies are not (R57)", () => {
  const configOf = (message: MessageInitShape<typeof RBACSchema>) =>
    inbound(inboundChain("a", [httpFilter("rbac", RBACSchema, message)])).chains[0]?.http.filters[0]?.config;
  expect(configOf({})).toEqual({ kind: "rbac", rules: undefined });
  expect(configOf({ rules: {} })).toEqual({ kind: "rbac", rules: { action: "allow", policies: [] } });
});

test("a metadata matcher never matches, its inversion does (R57)", () => {
  const metadata = (invert: boolean): PermissionInit => ({
    rule: { case: "metadata", value: { filter: "x", invert } },
  });
  const [policy] = rbacOf([metadata(false), metadata(true)], [anyone]).rules?.policies ?? [];
  expect(policy?.permissions).toEqual([{ kind: "never" }, { kind: "not", of: { kind: "never" } }]);
});

test.each<[string, PermissionInit[], PrincipalInit[], string]>([
  ["no permissions", [], [anyone], "permissions is empty"],
  ["no principals", [anything], [], "principals is empty"],
  ["any: false", [{ rule: { case: "any", value: false } }], [anyone], "any must be true"],
  ["an empty rule", [{}], [anyone], "of a kind that this release does not know"],
  ["an empty list", [{ rule: { case: "orRules", value: { rules: [] } } }], [anyone], "or_rules is empty"],
  [
    "grpc-* at depth (R56)",
    [{ rule: { case: "notRule", value: { rule: { case: "header", value: { name: "GRPC-Status" } } } } }] as never,
    [anyone],
    "a rule may not match on grpc-status",
  ],
  ["filter_state", [anything], [{ identifier: { case: "filterState", value: {} } }] as never, "filter_state is not"],
  [
    "an address that is none",
    [{ rule: { case: "destinationIp", value: { addressPrefix: "10.0.0" } } }] as never,
    [anyone],
    "is not an IP address",
  ],
  [
    "a prefix that is too long",
    [{ rule: { case: "destinationIp", value: { addressPrefix: "10.0.0.0", prefixLen: 33 } } }] as never,
    [anyone],
    "prefix_len 33",
  ],
])("refused: %s", (_name, permissions, principals, message) => {
  expect(() => filterOf(permissions, principals)).toThrow(ResourceError);
  expect(() => filterOf(permissions, principals)).toThrow(message);
});

test("CEL conditions are refused, depth is bounded (R57)", () => {
  const policies = { p: { permissions: [anything], principals: [anyone], condition: {} } };
  const filter = httpFilter("rbac", RBACSchema, { rules: { policies } } as never);
  expect(() => inbound(inboundChain("a", [filter]))).toThrow('policies["p"]: condition is not supported');
  let deep: PermissionInit = anything;
  for (let i = 0; i < 70; i++) deep = { rule: { case: "notRule", value: deep } } as PermissionInit;
  expect(() => filterOf([deep], [anyone])).toThrow("nested too deeply");
});

test("RBACPerRoute without rbac switches the filter off (R58)", () => {
  const read = overrideCodecs.get(RBACPerRouteSchema.typeName);
  expect(read?.(openAny(any(RBACPerRouteSchema, {})), options)).toBe("off");
  expect(read?.(openAny(any(RBACPerRouteSchema, { rbac: {} })), options)).toEqual({ kind: "rbac", rules: undefined });
});

test("broken bytes are a ResourceError, never anything else", () => {
  const attempt = (bytes: Uint8Array): void => {
    try {
      listenerType.decode(bytes, options);
    } catch (error) {
      expect(error).toBeInstanceOf(ResourceError);
    }
  };
  const messages = [
    outboundListener("a:1", "r"),
    inboundListener("127.0.0.1", 8080, [inboundChain("inbound-mtls", [], mtls)]),
    create(ListenerSchema, {}),
  ];
  for (const message of messages) {
    const good = toBinary(ListenerSchema, message);
    for (let length = 0; length < good.length; length++) attempt(good.subarray(0, length));
    if (good.length === 0) continue;
    fc.assert(
      fc.property(fc.array(fc.tuple(fc.nat(good.length - 1), fc.nat(255)), { maxLength: 5 }), (flips) => {
        const bytes = new Uint8Array(good);
        for (const [at, value] of flips) bytes[at] = value;
        attempt(bytes);
      }),
      { numRuns: 500, seed: 6 },
    );
  }
});
