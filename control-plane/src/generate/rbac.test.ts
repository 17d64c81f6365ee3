import { fromBinary } from "@bufbuild/protobuf";
import { type RBAC, RBACSchema } from "@trama/proto/envoy/extensions/filters/http/rbac/v3/rbac_pb.js";
import { expect, test } from "vitest";

import type { AccessPolicy, Values } from "../model/access.ts";
import { defaultMesh } from "../model/mesh.ts";
import { rbac } from "./rbac.ts";

const none: Values<never> = { any: [], none: [] };

function policy(
  namespace: string,
  name: string,
  source?: { principals?: string[]; namespaces?: string[] },
): AccessPolicy {
  const { principals = [], namespaces = [] } = source ?? {};
  return {
    namespace,
    name,
    action: "deny",
    selector: {},
    rules: [
      {
        sources: [{ principals: { ...none, any: principals }, namespaces: { ...none, any: namespaces } }],
        operations: undefined,
      },
    ],
  };
}

function policies(
  list: readonly AccessPolicy[],
  aliases: readonly string[] = [],
): NonNullable<RBAC["rules"]>["policies"] {
  const packed = rbac(list, "deny", { ...defaultMesh, trustDomainAliases: aliases });
  return fromBinary(RBACSchema, packed.value).rules?.policies ?? {};
}

/** The texts of all string matchers, in order. */
function texts(value: unknown): readonly unknown[] {
  if (typeof value !== "object" || value === null) return [];
  if ("case" in value && (value.case === "exact" || value.case === "prefix") && "value" in value) return [value.value];
  return Object.values(value).flatMap(texts);
}

test("two policies whose names run together do not replace one another", () => {
  const found = policies([policy("a", "b-c", { principals: ["x"] }), policy("a-b", "c", { principals: ["y"] })]);
  expect(Object.keys(found)).toEqual(["a-b-c-0", "a-b-c-0~2"]);
});

test("S41: a principal of our own trust domain means its aliases too, another one does not", () => {
  const list = [policy("a", "b", { principals: ["cluster.local/ns/a/sa/b", "other/ns/a/sa/b"] })];
  expect(texts(policies(list, ["old.local"])["a-b-0"]?.principals)).toEqual([
    "spiffe://cluster.local/ns/a/sa/b",
    "spiffe://old.local/ns/a/sa/b",
    "spiffe://other/ns/a/sa/b",
  ]);
});

test("a namespace ends where it ends", () => {
  expect(texts(policies([policy("a", "b", { namespaces: ["shop"] })])["a-b-0"]?.principals)).toEqual([
    "spiffe://cluster.local/ns/shop/sa/",
  ]);
});
