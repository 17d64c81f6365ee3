import type { MessageInitShape } from "@bufbuild/protobuf";
import { create, toBinary } from "@bufbuild/protobuf";
import type { RouteAction_HashPolicySchema } from "@trama/proto/envoy/config/route/v3/route_components_pb.js";
import { RouteConfigurationSchema } from "@trama/proto/envoy/config/route/v3/route_pb.js";
import { expect, test } from "vitest";

import { duration } from "../../../../test/kit/xds-resources.ts";
import { routeType } from "./route.ts";

type Init = Exclude<MessageInitShape<typeof RouteAction_HashPolicySchema>, { $typeName: string }>;
const options = { regex: (pattern: string) => new RegExp(pattern), certificateProviders: new Set<string>() };

function read(...hashPolicy: Init[]): unknown {
  const config = create(RouteConfigurationSchema, {
    name: "r",
    virtualHosts: [
      {
        name: "v",
        domains: ["*"],
        routes: [
          {
            match: { pathSpecifier: { case: "prefix", value: "/" } },
            action: { case: "route", value: { clusterSpecifier: { case: "cluster", value: "c" }, hashPolicy } },
          },
        ],
      },
    ],
  });
  const { action } = routeType.decode(toBinary(RouteConfigurationSchema, config), options).value.virtualHosts[0]!
    .routes[0]!;
  return action.kind === "forward" ? action.hash : expect.fail("no forward action");
}

test("every policy, in order (R46)", () => {
  const rewrite = { pattern: { regex: "^v(.)" }, substitution: "" };
  expect(
    read(
      { policySpecifier: { case: "header", value: { headerName: "X-User", regexRewrite: rewrite } }, terminal: true },
      { policySpecifier: { case: "header", value: { headerName: ":path" } } },
      {
        policySpecifier: {
          case: "cookie",
          value: { name: "u", ttl: duration(0), path: "/", attributes: [{ name: "Secure" }] },
        },
      },
      { policySpecifier: { case: "cookie", value: { name: "w" } } },
      { policySpecifier: { case: "connectionProperties", value: { sourceIp: true } } },
      { policySpecifier: { case: "connectionProperties", value: {} } },
      { policySpecifier: { case: "queryParameter", value: { name: "q" } } },
      { policySpecifier: { case: "filterState", value: { key: "io.grpc.channel_id" } } },
    ),
  ).toEqual([
    { kind: "header", name: "x-user", rewrite: { kind: "regex", pattern: "^v(.)", substitution: "" }, terminal: true },
    { kind: "header", name: ":path", rewrite: undefined, terminal: false },
    { kind: "cookie", name: "u", ttlMs: 0, path: "/", attributes: [{ name: "Secure", value: "" }], terminal: false },
    { kind: "cookie", name: "w", ttlMs: undefined, path: "", attributes: [], terminal: false },
    { kind: "source_ip", terminal: false },
    { kind: "query", name: "q", terminal: false },
    { kind: "channel", terminal: false },
  ]);
  expect(read()).toBeUndefined();
});

test.each<[string, Init]>([
  ["hash_policy[0].header: header_name is empty", { policySpecifier: { case: "header", value: {} } }],
  ["header_name :scheme is not supported", { policySpecifier: { case: "header", value: { headerName: ":scheme" } } }],
  ["hash_policy[0].cookie: name has a separator", { policySpecifier: { case: "cookie", value: { name: "a;b" } } }],
  ["path has a separator", { policySpecifier: { case: "cookie", value: { name: "a", path: "/ ; Domain=x" } } }],
  ["filter_state other is not supported", { policySpecifier: { case: "filterState", value: { key: "other" } } }],
  ["it names nothing to hash", {}],
])("refused: %s", (message, policy) => {
  expect(() => read(policy)).toThrow(message);
});
