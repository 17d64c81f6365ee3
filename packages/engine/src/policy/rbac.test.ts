import { describe, expect, test } from "vitest";
import type { Permission, Principal, RbacPolicy, RbacRules } from "../config.ts";
import { header, is, makeCall, makePeer, Recorder, testEnv, testState } from "../../test/fixture.ts";
import type { CallOptions, TestEnv } from "../../test/fixture.ts";
import { filterLayer } from "./chain.ts";
import { rbacRefusal } from "./rbac.ts";
import { buildFilter } from "./registry.ts";

const ANYONE: readonly Principal[] = [{ kind: "any" }];
const ANYTHING: readonly Permission[] = [{ kind: "any" }];
const policy = (
  permissions: readonly Permission[] = ANYTHING,
  principals: readonly Principal[] = ANYONE,
  name = "p",
): RbacPolicy => ({
  name,
  permissions,
  principals,
});
const path = (value: string, kind: "exact" | "prefix" | "suffix" | "contains" = "exact"): Permission => ({
  kind: "path",
  match: is(value, kind),
});
const id = (value: string): Principal => ({ kind: "authenticated", match: is(value) });
const alice = makePeer({ spiffeId: "spiffe://td/ns/shop/sa/alice" });
const nobody = makePeer();

function judge(rules: RbacRules | undefined, options: CallOptions = {}, env: TestEnv = testEnv()) {
  const filter = buildFilter({ kind: "rbac", rules }, "authz", env, testState());
  const service = filterLayer(filter === undefined ? [] : [filter], env)((_call, sink) => sink.onEnd(undefined));
  const call = makeCall({ side: "inbound", peer: nobody, path: "/x", ...options });
  const sink = new Recorder();
  service(call, sink);
  return { status: sink.head?.status ?? 200, sink, call, env, refusal: call.get(rbacRefusal) };
}
const allow = (policies: readonly RbacPolicy[], options?: CallOptions) =>
  judge({ action: "allow", policies }, options).status;
const deny = (policies: readonly RbacPolicy[], options?: CallOptions) =>
  judge({ action: "deny", policies }, options).status;

describe("R57: actions", () => {
  test("no rules is a no-op, LOG decides nothing, a DENY without policies denies nothing", () => {
    for (const rules of [
      undefined,
      { action: "log" as const, policies: [policy()] },
      { action: "deny" as const, policies: [] },
    ]) {
      expect(judge(rules).status).toBe(200);
      expect(buildFilter({ kind: "rbac", rules }, "authz", testEnv(), testState())).toBeUndefined();
    }
  });

  test("an ALLOW without policies denies everything", () => expect(allow([])).toBe(403));

  test("DENY if matched; ALLOW if matched, else deny", () => {
    expect([deny([policy([path("/x")])]), deny([policy([path("/y")])])]).toEqual([403, 200]);
    expect([allow([policy([path("/x")])]), allow([policy([path("/y")])])]).toEqual([200, 403]);
    expect(allow([policy([path("/y")]), policy([path("/x")])])).toBe(200);
  });

  test("a policy without permissions or without principals matches nothing", () => {
    expect([allow([policy([])]), allow([policy(ANYTHING, [])]), deny([policy([])])]).toEqual([403, 403, 200]);
  });

  test("the peer learns no more than Envoy tells; the reason stays in the call", () => {
    const denied = judge({ action: "deny", policies: [policy(ANYTHING, ANYONE, "ns[shop]-policy[block]-rule[0]")] });
    expect(denied.sink.body).toBe("RBAC: access denied");
    expect(denied.call.record.flag).toBe("UAEX");
    expect(denied.refusal).toEqual({
      filter: "authz",
      action: "deny",
      policy: "ns[shop]-policy[block]-rule[0]",
      reason: "policy",
    });
    expect(judge({ action: "allow", policies: [] }).refusal).toMatchObject({
      policy: undefined,
      reason: "no policy",
    });
    expect(judge({ action: "allow", policies: [policy()] }).refusal).toBeUndefined();
    const grpc = judge({ action: "allow", policies: [] }, { protocol: "grpc" });
    expect(grpc.call.record).toMatchObject({ grpcStatus: 7, flag: "UAEX" });
  });

  test("an error in evaluation denies", () => {
    const env: TestEnv = {
      ...testEnv(),
      regex: () => ({
        matches: () => {
          throw new Error("engine failed");
        },
        replace: (text) => text,
      }),
    };
    const rule = policy([{ kind: "header", match: header("x", { kind: "regex", value: "[a]+" }) }]);
    for (const action of ["allow", "deny"] as const) {
      const { status, refusal } = judge({ action, policies: [rule] }, { headers: ["x", "a"] }, env);
      expect([status, refusal?.reason]).toEqual([403, "error"]);
    }
  });

  test("a matcher that can never be evaluated does not match, its negation does", () => {
    expect([allow([policy([{ kind: "never" }])]), allow([policy([{ kind: "not", of: { kind: "never" } }])])]).toEqual([
      403, 200,
    ]);
    expect(deny([policy(ANYTHING, [{ kind: "not", of: { kind: "never" } }])])).toBe(403);
  });
});

describe("principals", () => {
  test("R54: the SPIFFE id, scheme included; no match given = any authenticated peer", () => {
    const rule = [policy(ANYTHING, [id("spiffe://td/ns/shop/sa/alice")])];
    expect([
      allow(rule, { peer: alice }),
      allow(rule, { peer: makePeer({ spiffeId: "spiffe://td/ns/shop/sa/bob" }) }),
    ]).toEqual([200, 403]);
    expect(allow([policy(ANYTHING, [id("td/ns/shop/sa/alice")])], { peer: alice })).toBe(403);
    const anyone = [policy(ANYTHING, [{ kind: "authenticated", match: undefined }])];
    expect([allow(anyone, { peer: alice }), allow(anyone)]).toEqual([200, 403]);
  });

  test("dataplane §23 rule 10: a plaintext peer is nobody", () => {
    const negated = [policy(ANYTHING, [{ kind: "not", of: id("spiffe://td/ns/shop/sa/alice") }])];
    expect([allow(negated), allow(negated, { peer: alice })]).toEqual([200, 403]);
    expect(deny([policy(ANYTHING, [id("")])])).toBe(200);
    expect(deny([policy(ANYTHING, [{ kind: "authenticated", match: is("", "prefix") }])])).toBe(200);
    // An id that was claimed without authentication is none.
    expect(
      allow([policy(ANYTHING, [id("spiffe://a")])], { peer: makePeer({ spiffeId: "spiffe://a", mtls: false }) }),
    ).toBe(403);
  });

  test("dataplane §23 rule 8: a certificate that ended since the handshake is refused, whatever the rules", () => {
    const env = testEnv();
    const peer = { ...alice, notAfterMs: env.clock.wall() + 1 };
    const rules: RbacRules = { action: "deny", policies: [policy([path("/other")])] };
    expect(judge(rules, { peer }, env).status).toBe(200);
    env.clock.advance(1);
    expect(judge(rules, { peer }, env)).toMatchObject({ status: 403, refusal: { reason: "expired" } });
  });

  test("R55: source blocks", () => {
    const rule = [policy(ANYTHING, [{ kind: "source_ip", cidr: { address: "10.0.0.0", bits: 8 } }])];
    expect([
      allow(rule),
      allow(rule, { peer: makePeer({ remoteAddress: "::ffff:10.9.9.9" }) }),
      allow(rule, { peer: makePeer({ remoteAddress: "11.0.0.1" }) }),
    ]).toEqual([200, 200, 403]);
  });
});

describe("permissions", () => {
  test("destination address and port, server name", () => {
    const at = (permission: Permission, options?: CallOptions) => allow([policy([permission])], options);
    expect([
      at({ kind: "destination_port", from: 8080, to: 8080 }),
      at({ kind: "destination_port", from: 1, to: 80 }),
    ]).toEqual([200, 403]);
    expect(at({ kind: "destination_ip", cidr: { address: "10.0.0.1", bits: 32 } })).toBe(200);
    const sni: Permission = { kind: "server_name", match: is("a.b") };
    expect([at(sni, { peer: makePeer({ serverName: "a.b" }) }), at(sni)]).toEqual([200, 403]);
    expect(
      at({ kind: "server_name", match: is("") }, { protocol: "grpc", peer: makePeer({ serverName: "a.b" }) }),
    ).toBe(200);
  });

  test("and, or, not", () => {
    const both: Permission = { kind: "and", of: [path("/x"), { kind: "not", of: path("/y") }] };
    const either: Permission = { kind: "or", of: [path("/y"), path("/x")] };
    expect([
      allow([policy([both])]),
      allow([policy([either])]),
      allow([policy([{ kind: "and", of: [path("/x"), path("/y")] }])]),
    ]).toEqual([200, 200, 403]);
  });
});

describe("dataplane §23 rule 2: all readings of a path", () => {
  const spellings = [
    "/admin",
    "/admin/",
    "/ADMIN",
    "//admin",
    "/./admin",
    "/x/../admin",
    "/%61dmin",
    "/admin;v=1",
    "/admin?x",
    "/Admin/;y",
  ];

  test.each(spellings)("DENY /admin refuses %s", (spelling) => {
    expect(deny([policy([path("/admin")])], { path: spelling })).toBe(403);
    expect(deny([policy([{ kind: "header", match: header(":path", is("/Admin")) }])], { path: spelling })).toBe(403);
    expect(deny([policy([{ kind: "path", match: { kind: "regex", value: "/ad[m]in/?" } }])], { path: spelling })).toBe(
      403,
    );
  });

  test.each(spellings)("ALLOW everything but /admin refuses %s", (spelling) => {
    expect(allow([policy([{ kind: "not", of: path("/admin") }])], { path: spelling })).toBe(403);
  });

  test.each([
    "/public/../admin",
    "/public/%2e%2e/admin",
    "/public/..;/admin",
    "//public/x",
    "/public/a/./b",
    "/%70ublic/x",
  ])("ALLOW /public/… refuses %s, which some router reads in another way", (spelling) => {
    const rule = [policy([path("/public/", "prefix")])];
    expect(allow(rule, { path: spelling })).toBe(spelling.includes("a/./b") ? 200 : 403);
  });

  test("an ALLOW takes the plain spelling, capitals, a trailing slash and the query included", () => {
    expect(allow([policy([path("/pkg.Service/Method")])], { path: "/pkg.Service/Method", protocol: "grpc" })).toBe(200);
    expect(allow([policy([path("/a/")])], { path: "/a/?q=1" })).toBe(200);
    expect(allow([policy([path("/a")])], { path: "/A" })).toBe(403);
  });

  test("DENY of a folder covers the folder itself, and no neighbour", () => {
    const rule = [policy([path("/admin/", "prefix")])];
    expect([
      deny(rule, { path: "/admin" }),
      deny(rule, { path: "/admin/x" }),
      deny(rule, { path: "/adminx" }),
      deny(rule, { path: "/" }),
    ]).toEqual([403, 403, 200, 200]);
  });

  test.each(["/a%2fb", "/a\\b", "/a%00", "/a#b", "/%c0%af", "http://h/a", "x"])(
    "%s is 400 as soon as a path rule exists, and only then",
    (target) => {
      for (const action of ["allow", "deny"] as const) {
        const { status, refusal } = judge({ action, policies: [policy([path("/x")])] }, { path: target });
        expect([status, refusal?.reason]).toEqual([400, "malformed"]);
      }
      expect(deny([policy(ANYTHING, [id("spiffe://x")])], { path: target })).toBe(200);
      expect(deny([policy(ANYTHING, [{ kind: "not", of: { kind: "path", match: is("/x") } }])], { path: target })).toBe(
        400,
      );
    },
  );
});

describe("dataplane §23 rules 3 and 4: host and headers", () => {
  test("any spelling of the host, with its port or without", () => {
    const rule = (value: string, kind: "exact" | "prefix" | "suffix" = "exact") => [
      policy([{ kind: "header", match: header(":authority", is(value, kind)) }]),
    ];
    for (const authority of ["a.com", "A.COM", "a.com.", "a.com:80", "a.com.:80"]) {
      expect([deny(rule("a.com"), { authority }), allow(rule("A.com"), { authority })]).toEqual([403, 200]);
      expect(
        allow([policy([{ kind: "header", match: header("host", is("a.com")) }])], {
          authority,
          headers: ["host", "b.com"],
        }),
      ).toBe(200);
    }
    expect(allow(rule("a.com:", "prefix"), { authority: "a.com:80" })).toBe(200);
    expect(allow(rule(".com", "suffix"), { authority: "evil:.com" })).toBe(400);
  });

  test("DENY matches if any value does, ALLOW needs every value", () => {
    const rule = [policy([{ kind: "header", match: header("X-Role", is("admin")) }])];
    const mixed = { headers: ["x-role", "guest", "x-role", "admin"] };
    expect([deny(rule, mixed), allow(rule, mixed), allow(rule, { headers: ["x-role", "admin"] }), allow(rule)]).toEqual(
      [403, 403, 200, 403],
    );
    const not: Permission = { kind: "not", of: { kind: "header", match: header("x-role", is("guest")) } };
    expect([deny([policy([not])], mixed), allow([policy([not])], mixed), allow([policy([not])])]).toEqual([
      403, 403, 200,
    ]);
  });

  test("a joined value is one value: nothing is split at commas", () => {
    const rule = [policy([{ kind: "header", match: header("x", is("a")) }])];
    expect(allow(rule, { headers: ["x", "a,a"] })).toBe(403);
  });
});
