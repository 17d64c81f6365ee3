import type { MessageInitShape } from "@bufbuild/protobuf";
import { create, toBinary } from "@bufbuild/protobuf";
import type { RouteConfiguration } from "@trama/engine";
import type {
  RedirectActionSchema,
  RouteActionSchema,
  RouteSchema,
} from "@trama/proto/envoy/config/route/v3/route_components_pb.js";
import { RouteConfigurationSchema } from "@trama/proto/envoy/config/route/v3/route_pb.js";
import { HTTPFaultSchema } from "@trama/proto/envoy/extensions/filters/http/fault/v3/fault_pb.js";
import { CorsPolicySchema } from "@trama/proto/envoy/extensions/filters/http/cors/v3/cors_pb.js";
import { expect, test } from "vitest";

import { any } from "../../../../test/kit/xds-resources.ts";

import { routeType } from "./route.ts";

const options = { regex: (pattern: string) => new RegExp(pattern), certificateProviders: new Set<string>() };

type Init<T extends Parameters<typeof create>[0]> = Exclude<MessageInitShape<T>, { $typeName: string }>;
type ActionInit = Init<typeof RouteActionSchema>;

function read(config: Init<typeof RouteConfigurationSchema>): RouteConfiguration {
  return routeType.decode(toBinary(RouteConfigurationSchema, create(RouteConfigurationSchema, config)), options).value;
}

function withRoute(route: Init<typeof RouteSchema>, more: object = {}): RouteConfiguration {
  const match = { pathSpecifier: { case: "prefix", value: "/" } } as const;
  return read({ name: "r", virtualHosts: [{ name: "v", domains: ["*"], routes: [{ match, ...route }] }], ...more });
}

const routeOf = (route: Init<typeof RouteSchema>) => withRoute(route).virtualHosts[0]!.routes[0]!;
const toCluster = { clusterSpecifier: { case: "cluster", value: "c" } } as const;
const forward = (action: ActionInit = {}) => ({ case: "route", value: { ...toCluster, ...action } }) as const;
const actionOf = (action: ActionInit) => {
  const read = routeOf({ action: forward(action) }).action;
  return read.kind === "forward" ? read : expect.fail("no forward action");
};

const add = (key: string, value: string, more: object = {}) => ({ header: { key, value }, ...more });

test("header operations of all four levels", () => {
  const config = read({
    name: "r",
    requestHeadersToAdd: [add("X-All", "1")],
    mostSpecificHeaderMutationsWins: true,
    virtualHosts: [
      {
        name: "v",
        domains: ["*"],
        responseHeadersToRemove: ["Server"],
        routes: [
          {
            match: { pathSpecifier: { case: "prefix", value: "/" } },
            requestHeadersToAdd: [
              add("a", "%REQ(x-user?:path):10%", { appendAction: 2, keepEmptyValue: true }),
              add("b", "100%%", { append: false }),
              add("c", "", { appendAction: 1 }),
              add("d", "x", { appendAction: 3 }),
            ],
            action: {
              case: "route",
              value: {
                clusterSpecifier: {
                  case: "weightedClusters",
                  value: {
                    clusters: [
                      {
                        name: "one",
                        weight: 1,
                        requestHeadersToRemove: ["E"],
                        hostRewriteSpecifier: { case: "hostRewriteLiteral", value: "one.example" },
                      },
                    ],
                  },
                },
              },
            },
          },
        ],
      },
    ],
  });
  const write = (name: string, value: string, action: string, keepEmpty = false) => ({
    name,
    value,
    action,
    keepEmpty,
  });
  expect(config).toMatchObject({
    mostSpecificHeadersLast: true,
    headers: { request: { remove: [], write: [write("x-all", "1", "append")] }, response: undefined },
  });
  const [host] = config.virtualHosts;
  expect(host?.headers).toEqual({ request: undefined, response: { remove: ["server"], write: [] } });
  expect(host?.routes[0]?.headers?.request?.write).toEqual([
    write("a", "%REQ(x-user?:path):10%", "overwrite", true),
    write("b", "100%%", "overwrite"),
    write("c", "", "add_if_absent"),
    write("d", "x", "overwrite_if_present"),
  ]);
  expect(host?.routes[0]?.action).toMatchObject({
    clusters: [{ headers: { request: { remove: ["e"], write: [] } }, authority: "one.example" }],
  });
});

test("nothing said is nothing carried", () => {
  const route = routeOf({ action: forward() });
  expect(route).not.toHaveProperty("headers");
  expect(route.action).not.toHaveProperty("rewrite");
});

test.each([
  [add(":path", "/x"), '":path" cannot be changed here'],
  [add("Host", "x"), '"Host" cannot be changed here'],
  [add("a b", "x"), '"a b" is not the name of a field'],
  [add("a", "x\r\ny: z"), "header.value has a control character in it"],
  [
    add("a", "%DOWNSTREAM_REMOTE_ADDRESS%"),
    "the operator %DOWNSTREAM_REMOTE_ADDRESS% is not supported by this release",
  ],
  [add("a", "50%"), "header.value: a percent sign that begins no operator"],
  [add("a", "%REQ(a b)%"), "header.value: %REQ(…)% takes the name of a field"],
  [add("a", "%RESP(:status)%"), "header.value: %RESP(:status)%"],
  [add("a", "x", { append: true, appendAction: 2 }), "both append and append_action are given"],
  [{ header: { key: "a", rawValue: new Uint8Array([1]) } }, "raw_value is not supported"],
  [{}, "header is missing"],
])("a header operation that cannot be is refused with its place: %j", (option, message) => {
  const read = () => routeOf({ action: forward(), requestHeadersToAdd: [option] });
  expect(read).toThrow(`virtual_hosts[0].routes[0].request_headers_to_add[0]`);
  expect(read).toThrow(message);
});

test("rewrites of path and host", () => {
  expect(actionOf({ prefixRewrite: "/x" }).rewrite).toEqual({
    path: { kind: "matched", value: "/x" },
    authority: undefined,
    forwardHost: false,
  });
  expect(
    actionOf({
      regexRewrite: { pattern: { regex: "/(a)" }, substitution: "/\\1" },
      hostRewriteSpecifier: { case: "hostRewriteHeader", value: "X-Host" },
      appendXForwardedHost: true,
    }).rewrite,
  ).toEqual({
    path: { kind: "regex", pattern: "/(a)", substitution: "/\\1" },
    authority: { kind: "header", name: "x-host" },
    forwardHost: true,
  });
  const regex = (pattern: string, substitution: string) => () =>
    actionOf({ regexRewrite: { pattern: { regex: pattern }, substitution } });
  expect(regex("a", "\\1")).toThrow("regex_rewrite.substitution: the pattern has no group \\1, only 0");
  expect(regex("(a)", "\\n")).toThrow("a backslash must be followed by a digit");
  expect(regex("a", "b c")).toThrow("substitution has a space");
  expect(() => actionOf({ prefixRewrite: "/x", regexRewrite: { pattern: { regex: "a" } } })).toThrow("both");
  expect(() => actionOf({ hostRewriteSpecifier: { case: "hostRewriteLiteral", value: "a\nb" } })).toThrow(
    "host_rewrite_literal",
  );
});

test("redirects", () => {
  const of = (value: Init<typeof RedirectActionSchema>) => routeOf({ action: { case: "redirect", value } }).action;
  expect(of({})).toEqual({
    kind: "redirect",
    status: 301,
    scheme: undefined,
    authority: undefined,
    port: undefined,
    path: undefined,
    stripQuery: false,
  });
  expect(
    of({
      schemeRewriteSpecifier: { case: "httpsRedirect", value: true },
      hostRedirect: "b.example",
      portRedirect: 8443,
      pathRewriteSpecifier: { case: "pathRedirect", value: "/new?x" },
      responseCode: 4,
      stripQuery: true,
    }),
  ).toMatchObject({
    status: 308,
    scheme: "https",
    authority: "b.example",
    port: 8443,
    path: { kind: "whole", value: "/new?x" },
    stripQuery: true,
  });
  expect(of({ pathRewriteSpecifier: { case: "prefixRewrite", value: "/n" } })).toMatchObject({
    path: { kind: "matched", value: "/n" },
  });
  expect(() => of({ responseCode: 9 as never })).toThrow("redirect: response_code 9 is not known");
  expect(() => of({ portRedirect: 70_000 })).toThrow("port_redirect 70000 is not a port");
  expect(() => of({ schemeRewriteSpecifier: { case: "schemeRedirect", value: "a b" } })).toThrow("scheme_redirect");
});

test("mirrors: all calls without a fraction, none with an empty one (R32)", () => {
  const of = (policy: object) => actionOf({ requestMirrorPolicies: [{ cluster: "m", ...policy }] }).mirrors;
  expect(of({})).toEqual([{ cluster: "m", perMillion: 1_000_000, keepHost: false }]);
  expect(of({ runtimeFraction: {} })).toMatchObject([{ perMillion: 0 }]);
  const half = { defaultValue: { numerator: 50, denominator: 0 }, runtimeKey: "ours.only" };
  expect(of({ runtimeFraction: half, disableShadowHostSuffixAppend: true })).toEqual([
    { cluster: "m", perMillion: 500_000, keepHost: true },
  ]);
  expect(() => of({ cluster: "" })).toThrow("request_mirror_policies[0]: cluster is empty");
});

test("CORS of a route", () => {
  const of = (policy: Init<typeof CorsPolicySchema>) =>
    routeOf({ action: forward(), typedPerFilterConfig: { cors: any(CorsPolicySchema, policy) } }).overrides.get("cors");
  expect(of({})).toEqual({
    kind: "cors",
    policy: {
      origins: [],
      allowMethods: "",
      allowHeaders: "",
      exposeHeaders: "",
      maxAge: "",
      allowCredentials: false,
      forwardUnmatched: true,
      allowPrivateNetwork: false,
    },
  });
  expect(
    of({
      allowOriginStringMatch: [{ matchPattern: { case: "suffix", value: ".example" } }],
      allowMethods: "GET",
      allowCredentials: true,
      forwardNotMatchingPreflights: false,
      shadowEnabled: { defaultValue: { numerator: 1 }, runtimeKey: "" },
    }),
  ).toMatchObject({
    policy: {
      origins: [{ kind: "suffix", value: ".example" }],
      allowMethods: "GET",
      allowCredentials: true,
      forwardUnmatched: false,
    },
  });
  const enabled = (numerator: number) => of({ filterEnabled: { defaultValue: { numerator }, runtimeKey: "" } });
  expect([enabled(0), (enabled(100) as { kind: string }).kind]).toEqual(["off", "cors"]);
  expect(() => enabled(50)).toThrow("filter_enabled of a share is not supported");
  expect(() => of({ maxAge: "1\r\nx: y" })).toThrow("maxAge has characters that no header may have");
});

test("faults that the request asks for, in the unit of their share", () => {
  const of = (fault: Init<typeof HTTPFaultSchema>) =>
    routeOf({ action: forward(), typedPerFilterConfig: { fault: any(HTTPFaultSchema, fault) } }).overrides.get("fault");
  const asked = (numerator: number, denominator: number) =>
    of({
      abort: { errorType: { case: "headerAbort", value: {} }, percentage: { numerator, denominator } },
      delay: { faultDelaySecifier: { case: "headerDelay", value: {} } },
    });
  expect(asked(5, 1)).toMatchObject({
    abort: { httpStatus: undefined, perMillion: 500, byRequest: { unitPerMillion: 100 } },
    delay: { perMillion: 0, byRequest: {} },
  });
  expect(asked(100, 0)).toMatchObject({ abort: { perMillion: 1_000_000, byRequest: { unitPerMillion: 10_000 } } });
});
