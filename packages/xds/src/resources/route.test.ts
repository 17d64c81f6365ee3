import type { MessageInitShape } from "@bufbuild/protobuf";
import type { JsonObject } from "@bufbuild/protobuf";
import { create, toBinary } from "@bufbuild/protobuf";
import type { RouteConfiguration } from "@trama/engine";
import type { RouteActionSchema, RouteSchema } from "@trama/proto/envoy/config/route/v3/route_components_pb.js";
import { FilterConfigSchema } from "@trama/proto/envoy/config/route/v3/route_components_pb.js";
import { RouteConfigurationSchema } from "@trama/proto/envoy/config/route/v3/route_pb.js";
import { CsrfPolicySchema } from "@trama/proto/envoy/extensions/filters/http/csrf/v3/csrf_pb.js";
import { HTTPFaultSchema } from "@trama/proto/envoy/extensions/filters/http/fault/v3/fault_pb.js";
import { PreviousPrioritiesConfigSchema } from "@trama/proto/envoy/extensions/retry/priority/previous_priorities/v3/previous_priorities_config_pb.js";
import { TypedStructSchema } from "@trama/proto/xds/type/v3/typed_struct_pb.js";
import * as fc from "fast-check";
import { expect, test } from "vitest";

import { any, duration } from "../../../../test/kit/xds-resources.ts";
import { ResourceError } from "./error.ts";
import { routeType } from "./route.ts";

const options = {
  regex(pattern: string) {
    if (pattern.includes("(?=")) throw new Error("invalid perl operator");
    return undefined;
  },
  certificateProviders: new Set<string>(),
};

type ConfigInit = MessageInitShape<typeof RouteConfigurationSchema>;
type RouteInit = MessageInitShape<typeof RouteSchema>;
type ActionInit = MessageInitShape<typeof RouteActionSchema>;

function read(config: ConfigInit): RouteConfiguration {
  return routeType.decode(toBinary(RouteConfigurationSchema, create(RouteConfigurationSchema, config)), options).value;
}

const toCluster = { clusterSpecifier: { case: "cluster", value: "c" } } as const;
const prefix = { pathSpecifier: { case: "prefix", value: "/" } } as const;

function withRoute(route: RouteInit): ConfigInit {
  const whole = { match: prefix, action: { case: "route", value: toCluster }, ...route } as RouteInit;
  return { name: "r", virtualHosts: [{ name: "v", domains: ["*"], routes: [whole] }] };
}

const withAction = (action: ActionInit): ConfigInit =>
  withRoute({ action: { case: "route", value: { ...toCluster, ...action } as never } });

function actionOf(config: ConfigInit) {
  const action = read(config).virtualHosts[0]?.routes[0]?.action;
  if (action?.kind !== "forward") throw new Error("no forward action");
  return action;
}

const matchOf = (match: RouteInit["match"]) =>
  read(withRoute({ match: match as never })).virtualHosts[0]?.routes[0]?.match;

test("the four ways to match a path", () => {
  expect(matchOf(prefix)?.path).toEqual({ kind: "prefix", value: "/", ignoreCase: false });
  const path = (pathSpecifier: object, caseSensitive?: boolean) =>
    matchOf({ pathSpecifier, ...(caseSensitive !== undefined && { caseSensitive }) } as never)?.path;
  expect(path({ case: "path", value: "/A" }, false)).toEqual({ kind: "exact", value: "/A", ignoreCase: true });
  expect(path({ case: "pathSeparatedPrefix", value: "/a" })).toMatchObject({ kind: "segments", value: "/a" });
  expect(path({ case: "safeRegex", value: { regex: "/a.*" } })).toEqual({ kind: "regex", value: "/a.*" });
  expect(() => path({ case: "pathSeparatedPrefix", value: "/a/" })).toThrow("path_separated_prefix");
  expect(() => path({ case: "connectMatcher", value: {} })).toThrow("connect_matcher is not supported");
  expect(() => path({ case: undefined })).toThrow("path matcher is missing");
});

test("headers: old and new forms, Host is :authority, a bad regex refuses the resource with its place (R29, R56)", () => {
  const headers = (...list: object[]) => matchOf({ ...prefix, headers: list as never })?.headers;
  expect(
    headers(
      { name: "X-A", headerMatchSpecifier: { case: "exactMatch", value: "1" } },
      {
        name: "Host",
        headerMatchSpecifier: { case: "stringMatch", value: { matchPattern: { case: "exact", value: "h" } } },
      },
      { name: "x-b", headerMatchSpecifier: { case: "presentMatch", value: false }, invertMatch: true },
      { name: "x-c", headerMatchSpecifier: { case: "rangeMatch", value: { start: -5n, end: 7n } } },
      { name: "x-d", treatMissingHeaderAsEmpty: true },
    ),
  ).toEqual([
    {
      name: "x-a",
      test: { kind: "string", match: { kind: "exact", value: "1", ignoreCase: false } },
      invert: false,
      missingIsEmpty: false,
    },
    {
      name: ":authority",
      test: { kind: "string", match: { kind: "exact", value: "h", ignoreCase: false } },
      invert: false,
      missingIsEmpty: false,
    },
    { name: "x-b", test: { kind: "present", present: false }, invert: true, missingIsEmpty: false },
    { name: "x-c", test: { kind: "range", start: -5, end: 7 }, invert: false, missingIsEmpty: false },
    { name: "x-d", test: { kind: "present", present: true }, invert: false, missingIsEmpty: true },
  ]);
  // Envoy takes any value there.
  expect(headers({ name: "x-e", headerMatchSpecifier: { case: "exactMatch", value: "" } })?.[0]?.test).toEqual({
    kind: "string",
    match: { kind: "prefix", value: "", ignoreCase: false },
  });
  expect(() =>
    headers({ name: "x", headerMatchSpecifier: { case: "safeRegexMatch", value: { regex: "(?=a)" } } }),
  ).toThrow('virtual_hosts[0].routes[0].match.headers[0]: safe_regex "(?=a)" is not RE2: invalid perl operator');
  expect(() => headers({ name: ":status" })).toThrow("a matcher on :status is not supported");
});

test("R37: HTTP time-out is 15 s when absent and none when zero; gRPC has its own", () => {
  expect(actionOf(withAction({}))).toMatchObject({ timeoutMs: 15_000, grpcTimeoutMs: undefined });
  expect(actionOf(withAction({ timeout: duration(0) as never })).timeoutMs).toBeUndefined();
  expect(actionOf(withAction({ timeout: duration(2_500) as never })).timeoutMs).toBe(2_500);
  const limits = { maxStreamDuration: duration(3_000), grpcTimeoutHeaderMax: duration(2_000) };
  expect(actionOf(withAction({ maxStreamDuration: limits as never })).grpcTimeoutMs).toBe(2_000);
  const longest = { maxStreamDuration: duration(3_000) };
  expect(actionOf(withAction({ maxStreamDuration: longest as never })).grpcTimeoutMs).toBe(3_000);
});

test("R35: weights are summed; zero among others is legal; all zero or too much is not", () => {
  const weighted = (...weights: number[]) => ({
    clusterSpecifier: {
      case: "weightedClusters",
      value: { clusters: weights.map((weight, index) => ({ name: `c${index}`, weight })), totalWeight: 100 },
    } as never,
  });
  expect(actionOf(withAction(weighted(9, 0))).clusters.map((one) => one.weight)).toEqual([9, 0]);
  expect(() => actionOf(withAction(weighted(0, 0)))).toThrow("the weights add up to 0");
  expect(() => actionOf(withAction(weighted(0xffff_ffff, 1)))).toThrow("the weights add up to 4294967296");
});

test("R40, R41: retries", () => {
  const retry = (policy: object) => actionOf(withAction({ retryPolicy: policy as never })).retry;
  expect(retry({ retryOn: "5xx, connect-failure,made-up" })).toEqual({
    retryOn: ["5xx", "connect-failure"],
    statusCodes: [],
    retries: 1,
    perTryTimeoutMs: undefined,
    backoffBaseMs: 25,
    backoffMaxMs: 250,
    avoidPreviousHosts: false,
    hostSelectionAttempts: 1,
  });
  expect(
    retry({
      retryOn: "retriable-status-codes",
      retriableStatusCodes: [503],
      numRetries: 3,
      perTryTimeout: duration(100),
      retryHostPredicate: [{ name: "envoy.retry_host_predicates.previous_hosts" }],
      hostSelectionRetryMaxAttempts: 5n,
      retryBackOff: { baseInterval: duration(0.1), maxInterval: duration(40) },
    }),
  ).toMatchObject({
    statusCodes: [503],
    retries: 3,
    perTryTimeoutMs: 100,
    avoidPreviousHosts: true,
    hostSelectionAttempts: 5,
    backoffBaseMs: 1,
    backoffMaxMs: 40,
  });
  expect(() => retry({ numRetries: 0 })).toThrow("num_retries must be at least 1");
  expect(() => retry({ retryBackOff: { baseInterval: duration(0) } })).toThrow("base_interval");
  expect(() => retry({ retryBackOff: { baseInterval: duration(9), maxInterval: duration(5) } })).toThrow(
    "max_interval",
  );
  expect(() => retry({ retryPriority: { name: "x" } })).toThrow("retry_priority: x is not supported");
});

test("silence: of a call and of an attempt; zero is none, and so is no word", () => {
  expect(actionOf(withAction({ idleTimeout: duration(70) as never })).idleTimeoutMs).toBe(70);
  expect(actionOf(withAction({ idleTimeout: duration(0) as never })).idleTimeoutMs).toBeUndefined();
  expect(actionOf(withAction({})).idleTimeoutMs).toBeUndefined();
  const retry = (ms: number) =>
    actionOf(withAction({ retryPolicy: { perTryIdleTimeout: duration(ms) } as never })).retry;
  expect(retry(30)?.perTryIdleTimeoutMs).toBe(30);
  expect(retry(0)?.perTryIdleTimeoutMs).toBeUndefined();
});

test("retries: headers of request and answer, reset headers, previous priorities", () => {
  const retry = (policy: object) => actionOf(withAction({ retryPolicy: policy as never })).retry;
  const present = { headerMatchSpecifier: { case: "presentMatch", value: true } };
  expect(
    retry({
      retryOn: "retriable-headers,envoy-ratelimited,http3-post-connect-failure",
      retriableHeaders: [{ name: "X-Again", ...present }],
      retriableRequestHeaders: [{ name: ":method", ...present }],
      rateLimitedRetryBackOff: {
        resetHeaders: [{ name: "Retry-After" }, { name: "x-ratelimit-reset", format: 1 }],
        maxInterval: duration(5_000),
      },
    }),
  ).toMatchObject({
    retryOn: ["retriable-headers", "envoy-ratelimited", "http3-post-connect-failure"],
    answerHeaders: [{ name: "x-again" }],
    requestHeaders: [{ name: ":method" }],
    resets: {
      headers: [
        { name: "retry-after", unit: "seconds" },
        { name: "x-ratelimit-reset", unit: "unix_time" },
      ],
      maxMs: 5_000,
    },
  });
  const resets = (more: object) => () => retry({ rateLimitedRetryBackOff: more });
  expect(resets({ resetHeaders: [{ name: "x" }] })()?.resets?.maxMs).toBe(300_000);
  expect(resets({})).toThrow("reset_headers is empty");
  expect(resets({ resetHeaders: [{ name: "" }] })).toThrow("name is empty");
  expect(resets({ resetHeaders: [{ name: "x", format: 7 }] })).toThrow("format 7 is not supported");
  expect(resets({ resetHeaders: [{ name: "x" }], maxInterval: duration(0) })).toThrow("max_interval");
  expect(() => retry({ retriableHeaders: [{ name: ":status", ...present }] })).toThrow(":status is not supported");

  const priorities = (updateFrequency: number) => ({
    retryPriority: {
      name: "envoy.retry_priorities.previous_priorities",
      configType: { case: "typedConfig", value: any(PreviousPrioritiesConfigSchema, { updateFrequency }) },
    },
  });
  expect(retry(priorities(3))?.avoidPreviousPriorities).toBe(3);
  expect(() => retry(priorities(0))).toThrow("update_frequency must be at least 1");
  expect(retry({ retryPriority: { name: "envoy.retry_priorities.previous_priorities" } })).toMatchObject({
    avoidPreviousPriorities: 2,
  });
});

test("hedging: of a route, of a virtual host, and what no router carries out", () => {
  const hedge = (hedgePolicy: object) => actionOf(withAction({ hedgePolicy: hedgePolicy as never })).hedge;
  expect(hedge({ hedgeOnPerTryTimeout: true, initialRequests: 1 })).toEqual({ onPerTryTimeout: true });
  expect(hedge({})).toBeUndefined();
  expect(() => hedge({ initialRequests: 2 })).toThrow("initial_requests is not supported");
  expect(() => hedge({ additionalRequestChance: { numerator: 1 } })).toThrow("additional_request_chance");
  const host = { name: "v", domains: ["a"], hedgePolicy: { hedgeOnPerTryTimeout: true } };
  expect(read({ name: "r", virtualHosts: [host] as never }).virtualHosts[0]?.hedge?.onPerTryTimeout).toBe(true);
});

test("what only our control plane says of a route stands in its metadata", () => {
  const hinted = (trama: JsonObject) =>
    actionOf(
      withRoute({
        metadata: { filterMetadata: { trama } },
        action: { case: "route", value: { ...toCluster, retryPolicy: { retryOn: "5xx" } } as never },
      }),
    );
  expect(hinted({}).hedge).toBeUndefined();
  expect(hinted({ idempotent: true }).retry?.idempotent).toBe(true);
  expect(hinted({ hedge: { delay_ms: 50 } }).hedge).toEqual({ onPerTryTimeout: false, delayMs: 50 });
  expect(hinted({ hedge: { percentile: 95 } }).hedge?.percentile).toBe(0.95);
  for (const wrong of [
    { more: 1 },
    { idempotent: 1 },
    { hedge: {} },
    { hedge: 5 },
    { hedge: { delay_ms: 0 } },
    { hedge: { delay_ms: "5" } },
    { hedge: { percentile: 0.95 } },
    { hedge: { percentile: 100 } },
    { hedge: { delay_ms: 1, more: 1 } },
  ])
    expect(() => hinted(wrong), JSON.stringify(wrong)).toThrow("trama");
});

test.each<[string, ConfigInit]>([
  [
    "auto_host_rewrite",
    withAction({ hostRewriteSpecifier: { case: "autoHostRewrite", value: { value: true } } as never }),
  ],
  ["path_rewrite_policy", withAction({ pathRewritePolicy: { name: "x" } as never })],
  ["cluster_header", withAction({ requestMirrorPolicies: [{ cluster: "m", clusterHeader: "x" }] as never })],
  ["cors", withAction({ cors: {} as never })],
  ["rate_limits", withAction({ rateLimits: [{}] as never })],
  ["priority", withAction({ priority: 1 })],
  ["cluster_header", withAction({ clusterSpecifier: { case: "clusterHeader", value: "x" } as never })],
  ["filter_action", withRoute({ action: { case: "filterAction", value: {} } as never })],
  ["vhds", { ...withRoute({}), vhds: {} as never }],
  ["tls_context", withRoute({ match: { ...prefix, tlsContext: {} } as never })],
  ["grpc", withRoute({ match: { ...prefix, grpc: {} } as never })],
  ["require_tls", { name: "r", virtualHosts: [{ name: "v", domains: ["a"], requireTls: 2 }] as never }],
])("never passed over in silence: %s", (field, config) => {
  expect(() => read(config)).toThrow(ResourceError);
  expect(() => read(config)).toThrow(`${field} is not supported by this release`);
});

test("domains (R28)", () => {
  const config = (list: string[], more: object = {}) =>
    read({ name: "r", virtualHosts: [{ name: "v", domains: list }] as never, ...more } as ConfigInit);
  const domains = (list: string[]) => config(list).virtualHosts[0]?.domains;
  expect(domains(["Reviews", "*.shop", "reviews.*", "*"])).toEqual(["reviews", "*.shop", "reviews.*", "*"]);
  expect(config(["a", "*.b"], { ignorePortInHostMatching: true }).ignorePort).toBe(true);
  expect(config(["a"]).ignorePort).toBeUndefined();
  expect(() => domains(["a*b"])).toThrow("* in the middle");
  expect(() => domains([])).toThrow("domains is empty");
  const twice = ["v", "w"].map((name) => ({ name, domains: ["A"] }));
  expect(() => read({ name: "r", virtualHosts: twice as never })).toThrow('domain "a" is there twice');
});

test("overrides go by the filter's name; the wrapper disables or makes optional (R33)", () => {
  const overridesOf = (typedPerFilterConfig: Record<string, never>) =>
    read(withRoute({ typedPerFilterConfig })).virtualHosts[0]?.routes[0]?.overrides;
  const fault = { abort: { errorType: { case: "httpStatus", value: 503 }, percentage: { numerator: 10 } } } as const;
  const found = overridesOf({
    a: any(HTTPFaultSchema, fault) as never,
    b: any(FilterConfigSchema, { disabled: true }) as never,
    c: any(FilterConfigSchema, { isOptional: true, config: any(CsrfPolicySchema, {}) }) as never,
    d: any(TypedStructSchema, {
      typeUrl: "type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault",
      value: { delay: { fixed_delay: "2s", percentage: { numerator: 50 } } },
    }) as never,
  });
  expect(found?.get("a")).toMatchObject({ abort: { httpStatus: 503, perMillion: 100_000 } });
  expect(found?.get("b")).toBe("off");
  expect(found?.has("c")).toBe(false);
  expect(found?.get("d")).toMatchObject({ kind: "fault", delay: { ms: 2_000, perMillion: 500_000 } });
  expect(() => overridesOf({ x: any(CsrfPolicySchema, {}) as never })).toThrow("CsrfPolicy is not supported");
});

test("broken bytes are a ResourceError, never anything else", () => {
  const good = toBinary(RouteConfigurationSchema, create(RouteConfigurationSchema, withAction({ prefixRewrite: "" })));
  const attempt = (bytes: Uint8Array): void => {
    try {
      routeType.decode(bytes, options);
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
    { numRuns: 1_000, seed: 4 },
  );
});

test("a virtual host may ask for the number of attempts, to the peer and to the caller", () => {
  const countOf = (more: object) =>
    read({ name: "r", virtualHosts: [{ name: "v", domains: ["a"], ...more }] as never }).virtualHosts[0]?.attemptCount;
  expect(countOf({})).toBeUndefined();
  expect(countOf({ includeRequestAttemptCount: true })).toEqual({ request: true, response: false });
  expect(countOf({ includeAttemptCountInResponse: true })).toEqual({ request: false, response: true });
});
