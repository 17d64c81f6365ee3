import type { MessageInitShape } from "@bufbuild/protobuf";
import { create, toBinary } from "@bufbuild/protobuf";
import { ClusterSchema } from "@trama/proto/envoy/config/cluster/v3/cluster_pb.js";
import type { MatchPredicateSchema } from "@trama/proto/envoy/config/common/matcher/v3/matcher_pb.js";
import { RawBufferSchema } from "@trama/proto/envoy/extensions/transport_sockets/raw_buffer/v3/raw_buffer_pb.js";
import type { CertificateValidationContextSchema } from "@trama/proto/envoy/extensions/transport_sockets/tls/v3/common_pb.js";
import { UpstreamTlsContextSchema } from "@trama/proto/envoy/extensions/transport_sockets/tls/v3/tls_pb.js";
import { HttpProtocolOptionsSchema } from "@trama/proto/envoy/extensions/upstreams/http/v3/http_protocol_options_pb.js";
import * as fc from "fast-check";
import { expect, test } from "vitest";

import { healthCheck, outlier } from "../../../../test/kit/mesh-config.ts";
import { any, assignment, duration, edsCluster, upstreamTlsContext } from "../../../../test/kit/xds-resources.ts";
import { type DecodedCluster, clusterType } from "./cluster.ts";
import { ResourceError } from "./error.ts";

const options = { regex: () => undefined, certificateProviders: new Set(["default"]) };

type More = Parameters<typeof edsCluster>[1];

function read(more: More = {}, certificateProviders = options.certificateProviders): DecodedCluster {
  const bytes = toBinary(ClusterSchema, edsCluster("outbound|80||a.b", more));
  return clusterType.decode(bytes, { ...options, certificateProviders }).value;
}

const spiffe = "spiffe://cluster.local/ns/shop/sa/reviews";
const tlsSocket = (subjects = [spiffe]) => ({
  name: "envoy.transport_sockets.tls",
  configType: { case: "typedConfig", value: upstreamTlsContext(subjects) } as const,
});
const rawSocket = {
  name: "envoy.transport_sockets.raw_buffer",
  configType: { case: "typedConfig", value: any(RawBufferSchema, {}) } as const,
};

test("defaults of an EDS cluster", () => {
  const metadata = { filterMetadata: { istio: { services: [{ host: "a.b", name: "a", namespace: "b" }] } } };
  expect(read({ metadata })).toEqual({
    name: "outbound|80||a.b",
    service: { host: "a.b", name: "a", namespace: "b" },
    balancer: { kind: "least_request", choices: 2 },
    endpoints: { eds: "outbound|80||a.b" },
    connectTimeoutMs: 1_000,
    tls: undefined,
    tlsByMode: new Map(),
    breaker: { maxConnections: 1024, maxPending: 1024, maxRequests: 1024, maxRetries: 3, retryBudget: undefined },
    http2: false,
    outlier: undefined,
    healthCheck: undefined,
    panicPercent: 0,
  });
});

test("outlier detection: absent is off, present and empty has Envoy's defaults", () => {
  expect(read().outlier).toBeUndefined();
  expect(read({ outlierDetection: {} }).outlier).toEqual(outlier());
});

test("outlier detection: every knob arrives, and what Envoy has no field for comes as metadata", () => {
  const detection = {
    consecutive5xx: 1,
    interval: duration(2),
    baseEjectionTime: duration(3),
    maxEjectionPercent: 4,
    enforcingConsecutive5xx: 5,
    enforcingSuccessRate: 6,
    successRateMinimumHosts: 7,
    successRateRequestVolume: 8,
    successRateStdevFactor: 9,
    consecutiveGatewayFailure: 10,
    enforcingConsecutiveGatewayFailure: 11,
    splitExternalLocalOriginErrors: true,
    consecutiveLocalOriginFailure: 12,
    enforcingConsecutiveLocalOriginFailure: 13,
    enforcingLocalOriginSuccessRate: 14,
    failurePercentageThreshold: 15,
    enforcingFailurePercentage: 16,
    enforcingFailurePercentageLocalOrigin: 17,
    failurePercentageMinimumHosts: 18,
    failurePercentageRequestVolume: 19,
    maxEjectionTime: duration(20),
    maxEjectionTimeJitter: duration(21),
    successfulActiveHealthCheckUnejectHost: false,
    alwaysEjectOneHost: true,
  };
  const filterMetadata = { "trama.outlier_detection": { probing: false } };
  const status = (
    start: bigint,
    end: bigint,
  ): Exclude<MessageInitShape<typeof MatchPredicateSchema>, { $typeName: string }> => {
    const headers = [{ name: ":status", headerMatchSpecifier: { case: "rangeMatch" as const, value: { start, end } } }];
    return { rule: { case: "httpResponseHeadersMatch", value: { headers } } };
  };
  const typedExtensionProtocolOptions = errorMatcher({
    rule: { case: "orMatch", value: { rules: [status(429n, 430n), status(500n, 600n)] } },
  });
  const metadata = { filterMetadata };
  expect(read({ outlierDetection: detection, metadata, typedExtensionProtocolOptions }).outlier).toEqual({
    consecutive5xx: 1,
    enforcingConsecutive5xx: 5,
    consecutiveGatewayFailure: 10,
    enforcingConsecutiveGatewayFailure: 11,
    splitLocalOrigin: true,
    consecutiveLocalOrigin: 12,
    enforcingConsecutiveLocalOrigin: 13,
    intervalMs: 2,
    baseEjectionMs: 3,
    maxEjectionMs: 20,
    maxEjectionJitterMs: 21,
    maxEjectionPercent: 4,
    alwaysEjectOne: true,
    successRate: { minHosts: 7, requestVolume: 8, stdevFactor: 9, enforcing: 6, enforcingLocalOrigin: 14 },
    failurePercentage: { threshold: 15, minHosts: 18, requestVolume: 19, enforcing: 16, enforcingLocalOrigin: 17 },
    unejectOnHealthCheck: false,
    errorStatuses: [
      { from: 429, to: 429 },
      { from: 500, to: 599 },
    ],
    probing: false,
  });
});

function errorMatcher(matcher: MessageInitShape<typeof MatchPredicateSchema>) {
  const options = any(HttpProtocolOptionsSchema, {
    upstreamProtocolOptions: {
      case: "explicitHttpConfig",
      value: { protocolConfig: { case: "httpProtocolOptions", value: {} } },
    },
    outlierDetection: { errorMatcher: matcher },
  });
  return { "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": options };
}

test("error_matcher: Istio's exact statuses; what is no status is refused by name", () => {
  const header = (name: string, headerMatchSpecifier: object) => ({
    rule: { case: "httpResponseHeadersMatch", value: { headers: [{ name, headerMatchSpecifier }] } },
  });
  const statuses = (rule: object) =>
    read({ outlierDetection: {}, typedExtensionProtocolOptions: errorMatcher(rule as never) }).outlier!.errorStatuses;
  const exact = { case: "stringMatch", value: { matchPattern: { case: "exact", value: "503" } } };
  expect(statuses(header(":status", exact))).toEqual([{ from: 503, to: 503 }]);
  expect(statuses(header(":status", { case: "exactMatch", value: "404" }))).toEqual([{ from: 404, to: 404 }]);
  expect(() => statuses(header("x-failed", exact))).toThrow(
    "outlier_detection.error_matcher.http_response_headers_match.headers[0]: a condition on x-failed",
  );
  expect(() => statuses(header(":status", { case: "exactMatch", value: "x" }))).toThrow("no range of statuses");
  expect(() => statuses(header(":status", { case: "presentMatch", value: true }))).toThrow("presentMatch");
  expect(() => statuses({ rule: { case: "notMatch", value: header(":status", exact) } })).toThrow("notMatch");
  expect(() => statuses({ rule: { case: "anyMatch", value: true } })).toThrow("anyMatch");
});

test.each([
  [{ maxEjectionPercent: 101 }, "outlier_detection: max_ejection_percent 101 is more than 100 %"],
  [{ interval: duration(0) }, "outlier_detection: interval must be greater than zero"],
  [
    { baseEjectionTime: duration(2_000), maxEjectionTime: duration(1_000) },
    "outlier_detection: max_ejection_time must not be less than base_ejection_time",
  ],
  [{ monitors: [{ name: "m" }] }, "outlier_detection: monitors is not supported"],
])("outlier detection that is refused", (outlierDetection, message) => {
  expect(() => read({ outlierDetection })).toThrow(message);
});

const timing = {
  timeout: duration(500),
  interval: duration(1_000),
  unhealthyThreshold: 3,
  healthyThreshold: 2,
};

test("health checks: HTTP with Envoy's defaults, and with all that can be said", () => {
  const http = { case: "httpHealthCheck", value: { path: "/healthz" } } as const;
  expect(read({ healthChecks: [{ ...timing, healthChecker: http }] }).healthCheck).toEqual({
    ...healthCheck(),
    ask: {
      kind: "http",
      authority: "",
      method: "GET",
      path: "/healthz",
      headers: [],
      expected: [],
      retriable: [],
      http2: false,
    },
  });
  const told = {
    ...timing,
    initialJitter: duration(1),
    intervalJitter: duration(2),
    intervalJitterPercent: 3,
    noTrafficInterval: duration(4),
    unhealthyInterval: duration(5),
    unhealthyEdgeInterval: duration(6),
    healthyEdgeInterval: duration(7),
    healthChecker: {
      case: "httpHealthCheck" as const,
      value: {
        host: "web",
        path: "/",
        method: 2,
        codecClientType: 1,
        requestHeadersToAdd: [{ header: { key: "X-Check", value: "1" } }],
        expectedStatuses: [{ start: 200n, end: 300n }],
        retriableStatuses: [{ start: 503n, end: 504n }],
      },
    },
  };
  expect(read({ healthChecks: [told] }).healthCheck).toEqual({
    ...healthCheck(),
    ask: {
      kind: "http",
      authority: "web",
      method: "HEAD",
      path: "/",
      headers: [["x-check", "1"]],
      expected: [{ from: 200, to: 299 }],
      retriable: [{ from: 503, to: 503 }],
      http2: true,
    },
    initialJitterMs: 1,
    intervalJitterMs: 2,
    intervalJitterPercent: 3,
    noTrafficIntervalMs: 4,
    noTrafficHealthyIntervalMs: 4,
    unhealthyIntervalMs: 5,
    unhealthyEdgeIntervalMs: 6,
    healthyEdgeIntervalMs: 7,
  });
});

test("health checks: TCP and gRPC; what cannot be asked is refused", () => {
  const of = (checker: object, more: object = {}): More =>
    ({ healthChecks: [{ ...timing, ...more, healthChecker: checker }] }) as More;
  const tcp = { case: "tcpHealthCheck", value: {} };
  expect(read(of(tcp)).healthCheck?.ask).toEqual({ kind: "tcp" });
  const grpc = { case: "grpcHealthCheck", value: { serviceName: "s", authority: "a" } };
  expect(read(of(grpc)).healthCheck?.ask).toEqual({ kind: "grpc", service: "s", authority: "a" });
  expect(() => read({ healthChecks: [{}, {}] })).toThrow("health_checks: one at most, not 2");
  expect(() => read(of(tcp, { timeout: undefined }))).toThrow("timeout is missing");
  expect(() => read(of(tcp, { unhealthyThreshold: undefined }))).toThrow("unhealthy_threshold is missing");
  expect(() => read(of({ case: "httpHealthCheck", value: {} }))).toThrow("path is empty");
  expect(() => read(of({ case: "tcpHealthCheck", value: { receive: [{}] } }))).toThrow("receive is not supported");
  expect(() => read(of({ case: "customHealthCheck", value: {} }))).toThrow("custom_health_check is not supported");
  expect(() => read(of(tcp, { altPort: 1 }))).toThrow("alt_port is not supported");
});

test("panic: what the cluster says, and never without a word", () => {
  expect(read({ commonLbConfig: {} }).panicPercent).toBe(0);
  expect(read({ commonLbConfig: { healthyPanicThreshold: { value: 30 } } }).panicPercent).toBe(30);
  const commonLbConfig = { healthyPanicThreshold: { value: 101 } };
  expect(() => read({ commonLbConfig })).toThrow("healthy_panic_threshold 101");
});

test("Istio's TLS context: combined validation context, instances in current and deprecated fields (I23)", () => {
  const tls = read({ transportSocket: tlsSocket() }).tls;
  expect(tls).toEqual({
    identity: "default",
    trust: "default",
    serverName: "outbound_.80_._.reviews",
    subjectNames: [{ kind: "exact", value: spiffe, ignoreCase: false }],
  });
  const older = any(UpstreamTlsContextSchema, {
    commonTlsContext: {
      tlsCertificateCertificateProviderInstance: { instanceName: "default" },
      validationContextType: {
        case: "combinedValidationContext",
        value: {
          defaultValidationContext: {},
          validationContextCertificateProviderInstance: { instanceName: "default" },
        },
      },
    },
  });
  const socket = { name: "tls", configType: { case: "typedConfig", value: older } as const };
  expect(read({ transportSocket: socket }).tls).toMatchObject({ identity: "default", trust: "default" });
});

test("automatic mTLS: by the endpoint's tlsMode, the first match wins", () => {
  const cluster = read({
    transportSocketMatches: [
      { name: "tlsMode-istio", match: { tlsMode: "istio" }, transportSocket: tlsSocket() },
      { name: "tlsMode-disabled", match: {}, transportSocket: rawSocket },
      { name: "never reached", match: { tlsMode: "x" }, transportSocket: tlsSocket() },
    ],
  });
  expect([...cluster.tlsByMode.keys()]).toEqual(["istio"]);
  expect(cluster.tlsByMode.get("istio")).toMatchObject({ trust: "default" });
  expect(cluster.tls).toBeUndefined();
});

const serverSocket = (context: MessageInitShape<typeof UpstreamTlsContextSchema>): More => ({
  transportSocket: {
    name: "envoy.transport_sockets.tls",
    configType: { case: "typedConfig", value: any(UpstreamTlsContextSchema, context) },
  },
});
type Validation = NonNullable<MessageInitShape<typeof CertificateValidationContextSchema>>;
const verified = (value: Validation): More =>
  serverSocket({ sni: "a.b", commonTlsContext: { validationContextType: { case: "validationContext", value } } });
const path = (filename: string) => ({ specifier: { case: "filename" as const, value: filename } });
const san = (sanType: number, exact: string) => ({
  sanType,
  matcher: { matchPattern: { case: "exact" as const, value: exact } },
});

test("a server outside of the mesh: files, the roots of the machine (A82), names of each kind", () => {
  const names = [san(2, "a.b"), san(3, "spiffe://x/y"), san(4, "10.0.0.1"), san(1, "a@b.c")];
  expect(read(verified({ systemRootCerts: {}, matchTypedSubjectAltNames: names })).tls).toEqual({
    kind: "server",
    certificate: undefined,
    roots: "system",
    crlFile: undefined,
    serverName: "a.b",
    names: [
      { kind: "dns", value: "a.b" },
      { kind: "uri", value: "spiffe://x/y" },
      { kind: "ip", value: "10.0.0.1" },
      { kind: "email", value: "a@b.c" },
    ],
  });
  const files = serverSocket({
    commonTlsContext: {
      tlsCertificates: [{ certificateChain: path("/tls.crt"), privateKey: path("/tls.key") }],
      validationContextType: {
        case: "validationContext",
        value: { trustedCa: path("/ca.crt"), crl: path("/ca.crl"), matchTypedSubjectAltNames: [san(2, "a.b")] },
      },
    },
  });
  expect(read(files).tls).toMatchObject({
    certificate: { chainFile: "/tls.crt", keyFile: "/tls.key" },
    roots: { file: "/ca.crt" },
    crlFile: "/ca.crl",
    serverName: undefined,
  });
  expect(read(verified({ trustChainVerification: 1 })).tls).toMatchObject({ roots: "none", names: [] });
});

test.each<[string, More]>([
  ["match_typed_subject_alt_names is empty", verified({ systemRootCerts: {} })],
  [
    "trusted_ca must be a filename",
    verified({
      trustedCa: { specifier: { case: "inlineString", value: "pem" } },
      matchTypedSubjectAltNames: [san(2, "a")],
    }),
  ],
  [
    "only exact names",
    verified({
      systemRootCerts: {},
      matchTypedSubjectAltNames: [{ sanType: 2, matcher: { matchPattern: { case: "prefix", value: "a" } } }],
    }),
  ],
  ["san_type 0", verified({ systemRootCerts: {}, matchTypedSubjectAltNames: [san(0, "a")] })],
  ["verify_certificate_hash", verified({ systemRootCerts: {}, verifyCertificateHash: ["a"] })],
])("a server that could not be verified as meant is refused (R51): %s", (reason, more) => {
  expect(() => read(more)).toThrow(reason);
});

test("an error in security is never plaintext (R51, BS9)", () => {
  expect(() => read({ transportSocket: tlsSocket() }, new Set())).toThrow(
    'transport_socket.common_tls_context: certificate provider instance "default" is not in the bootstrap',
  );
  const context = (value: MessageInitShape<typeof UpstreamTlsContextSchema>) => ({
    transportSocket: {
      name: "t",
      configType: { case: "typedConfig", value: any(UpstreamTlsContextSchema, value) } as const,
    },
  });
  expect(() => read(context({}))).toThrow("common_tls_context");
  expect(() => read(context({ commonTlsContext: {} }))).toThrow("names no certificate provider instance");
  const validation = (value: object) =>
    context({ commonTlsContext: { validationContextType: { case: "validationContext", value: value as never } } });
  expect(() => read(validation({}))).toThrow("names no certificate provider instance");
  const roots = { caCertificateProviderInstance: { instanceName: "default" } };
  expect(() => read(validation({ ...roots, verifyCertificateHash: ["x"] }))).toThrow("verify_certificate_hash");
  expect(() => read(validation({ ...roots, allowExpiredCertificate: true }))).toThrow("allow_expired_certificate");
  expect(() =>
    read(validation({ ...roots, matchSubjectAltNames: [{ matchPattern: { case: "exact", value: "" } }] })),
  ).toThrow("an empty subject name");
  expect(() => read({ transportSocket: { name: "unheard-of" } })).toThrow("has no typed_config");
});

test("circuit breakers: the row of priority DEFAULT (R48)", () => {
  const breaker = read({
    circuitBreakers: {
      thresholds: [
        { priority: 1, maxRequests: 1 },
        { priority: 0, maxRequests: 7, maxRetries: 2, retryBudget: { budgetPercent: { value: 25 } } },
      ],
    },
  }).breaker;
  expect(breaker).toMatchObject({ maxRequests: 7, maxRetries: 2, retryBudget: { percent: 25, minConcurrency: 3 } });
});

test("HTTP/2 is a property of the cluster", () => {
  const explicit = any(HttpProtocolOptionsSchema, {
    upstreamProtocolOptions: {
      case: "explicitHttpConfig",
      value: { protocolConfig: { case: "http2ProtocolOptions", value: {} } },
    },
  });
  const typedExtensionProtocolOptions = { "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": explicit };
  expect(read({ typedExtensionProtocolOptions }).http2).toBe(true);
  expect(read({ http2ProtocolOptions: {} }).http2).toBe(true);
});

test("a static cluster brings its endpoints", () => {
  const cluster = read({
    clusterDiscoveryType: { case: "type", value: 0 },
    loadAssignment: assignment("", [{ address: "10.0.0.1", port: 80 }]),
  });
  expect(cluster.endpoints).toMatchObject({ priorities: [[{ endpoints: [{ address: "10.0.0.1:80" }] }]] });
});

const named = (type: number): More => ({
  clusterDiscoveryType: { case: "type", value: type },
  loadAssignment: assignment("", [{ address: "api.example.com", port: 443 }]),
});

test("names for DNS: of strict and logical clusters, with Envoy's defaults", () => {
  const strict = read(named(1));
  expect(strict.endpoints).toMatchObject({ priorities: [[{ endpoints: [{ host: "api.example.com", port: 443 }] }]] });
  const defaults = { refreshMs: 5_000, failureRefreshMs: 5_000, respectTtl: false, family: "v6_preferred" };
  expect(strict.dns).toEqual({ kind: "strict", ...defaults });
  expect(read(named(2)).dns).toEqual({ kind: "logical", ...defaults });
  const told = {
    dnsRefreshRate: duration(60_000),
    dnsFailureRefreshRate: { baseInterval: duration(1_000) },
    respectDnsTtl: true,
    dnsLookupFamily: 3,
  };
  expect(read({ ...named(1), ...told }).dns).toEqual({
    kind: "strict",
    refreshMs: 60_000,
    failureRefreshMs: 1_000,
    respectTtl: true,
    family: "v4_preferred",
  });
  const two = [
    { address: "a.example.com", port: 80 },
    { address: "b.example.com", port: 80 },
  ];
  expect(() => read({ ...named(2), loadAssignment: assignment("", two) })).toThrow("exactly one endpoint, not 2");
  expect(() => read({ ...named(1), dnsRefreshRate: duration(0) })).toThrow("dns_refresh_rate");
});

test.each<[string, More]>([
  ["type ORIGINAL_DST", { clusterDiscoveryType: { case: "type", value: 4 } }],
  ["dns_lookup_family v4 of a LOGICAL_DNS cluster", { ...named(2), dnsLookupFamily: 1 }],
  ["lb_subset_config", { lbSubsetConfig: {} }],
  ["upstream_bind_config", { upstreamBindConfig: {} }],
])("never passed over in silence: %s", (field, more) => {
  expect(() => read(more)).toThrow(`${field} is not supported by this release`);
});

test("refused: eds_config that is not ADS, a time-out of zero", () => {
  expect(() => read({ edsClusterConfig: {} })).toThrow("eds_config must be ads or self");
  expect(() => read({ connectTimeout: duration(0) })).toThrow("connect_timeout");
  expect(() => clusterType.decode(toBinary(ClusterSchema, create(ClusterSchema, {})), options)).toThrow(
    "name is empty",
  );
});

test("broken bytes are a ResourceError, never anything else", () => {
  const good = toBinary(ClusterSchema, edsCluster("c", { transportSocket: tlsSocket() }));
  const attempt = (bytes: Uint8Array): void => {
    try {
      clusterType.decode(bytes, options);
    } catch (error) {
      expect(error).toBeInstanceOf(ResourceError);
    }
  };
  for (let length = 0; length < good.length; length++) attempt(good.subarray(0, length));
  fc.assert(
    fc.property(fc.array(fc.tuple(fc.nat(good.length - 1), fc.nat(255)), { maxLength: 5 }), (flips) => {
      const bytes = new Uint8Array(good);
      for (const [at, value] of flips) bytes[at] = value;
      attempt(bytes);
    }),
    { numRuns: 1_000, seed: 5 },
  );
});
