import { describe, expect, test } from "vitest";
import type { ClusterConfig, FilterConfig, RbacConfig, RetryPolicy, VirtualHost } from "../config.ts";
import type { Service } from "../service.ts";
import type { Call } from "../call.ts";
import {
  exact,
  host,
  makeCall,
  none,
  prefix,
  Recorder,
  route,
  seeded,
  testEnv,
  testState,
  to,
} from "../../test/fixture.ts";
import type { CallOptions, TestEnv } from "../../test/fixture.ts";
import { compileInboundRoutes, compileRoutes } from "./router.ts";
import type { RouterDeps } from "./router.ts";

const denyAll: RbacConfig = { kind: "rbac", rules: { action: "allow", policies: [] } };
const noRules: RbacConfig = { kind: "rbac", rules: undefined };
const rbac = (config: RbacConfig, disabled = false): FilterConfig => ({ name: "authz", config, disabled });
const retry: RetryPolicy = {
  retryOn: ["5xx"],
  statusCodes: [],
  retries: 2,
  perTryTimeoutMs: undefined,
  backoffBaseMs: 25,
  backoffMaxMs: 250,
  avoidPreviousHosts: false,
  hostSelectionAttempts: 1,
};

interface Mesh {
  readonly env: TestEnv;
  /** `cluster` of each call that was forwarded. */
  readonly forwarded: string[];
  /** `cluster/retries` of each service that was asked for. */
  readonly built: string[];
  readonly deps: RouterDeps;
}

function mesh(filters: readonly FilterConfig[] = [], env: TestEnv = testEnv()): Mesh {
  const forwarded: string[] = [];
  const built: string[] = [];
  const deps: RouterDeps = {
    env,
    filters,
    state: testState(),
    cluster: (name) =>
      name.startsWith("missing")
        ? undefined
        : {
            config: { name, service: undefined } as ClusterConfig,
            service: (policy) => {
              built.push(`${name}/${policy?.retries ?? 0}`);
              return (_call, sink) => {
                forwarded.push(name);
                sink.onEnd(undefined);
              };
            },
          },
  };
  return { env, forwarded, built, deps };
}

function outbound(virtualHosts: readonly VirtualHost[], using: Mesh = mesh()) {
  const service = compileRoutes({ name: "rc", virtualHosts }, using.deps);
  return (options: CallOptions = {}): { readonly sink: Recorder; readonly call: Call } => {
    const call = makeCall(options);
    const sink = new Recorder();
    service(call, sink);
    return { sink, call };
  };
}

describe("outbound", () => {
  test("virtual host, then route, then cluster; the record says which", () => {
    const using = mesh();
    const send = outbound(
      [host(["reviews:9080"], [route("v2", exact("/v2"), to("two")), route("rest", prefix("/"), to("one"))])],
      using,
    );
    const { call } = send({ path: "/v2?x=1" });
    expect(using.forwarded).toEqual(["two"]);
    expect(call.record).toMatchObject({ route: "v2", cluster: { name: "two" } });
    send({ path: "/other" });
    expect(using.forwarded).toEqual(["two", "one"]);
  });

  test("no virtual host or no route is NO_ROUTE; the message names no path", () => {
    const send = outbound([host(["a"], [route("r", exact("/x"), to("one"))])]);
    expect(send({ authority: "b" }).sink.error).toMatchObject({ code: "NO_ROUTE", status: 404, flag: "NR" });
    const { error } = send({ authority: "a", path: "/secret" }).sink;
    expect(error).toMatchObject({ code: "NO_ROUTE" });
    expect(error!.message).not.toContain("secret");
  });

  test("a cluster that does not exist is NO_CLUSTER, and the others of the split still serve", () => {
    const using = mesh(
      [],
      testEnv(() => 0.6),
    );
    const send = outbound([host(["*"], [route("r", prefix("/"), to(["missing", 1], ["one", 1]))])], using);
    send();
    expect(using.forwarded).toEqual(["one"]);
    const { sink, call } = outbound([host(["*"], [route("r", prefix("/"), to("missing"))])])();
    expect(sink.error).toMatchObject({ code: "NO_CLUSTER", flag: "NC" });
    expect(call.record).toMatchObject({ route: "r", cluster: { name: "missing" } });
  });

  test("R38: the split is rolled once a call", () => {
    let rolls = 0;
    const random = seeded(3);
    const using = mesh(
      [],
      testEnv(() => (rolls++, random())),
    );
    const send = outbound([host(["*"], [route("r", prefix("/"), to(["one", 90], ["two", 10], ["never", 0]))])], using);
    for (let i = 0; i < 1_000; i++) send();
    expect(rolls).toBe(1_000);
    expect(Math.abs(using.forwarded.filter((name) => name === "two").length - 100)).toBeLessThan(35);
    expect(using.forwarded).not.toContain("never");
  });

  test("R40: the route's retry policy replaces the virtual host's whole", () => {
    const using = mesh();
    const own = { ...to("own"), retry: { ...retry, retries: 5 } };
    outbound([host(["*"], [route("a", exact("/a"), own), route("b", prefix("/"), to("heir"))], { retry })], using);
    expect(using.built).toEqual(["own/5", "heir/2"]);
  });

  test("services are made when the routes are compiled, never per call", () => {
    const using = mesh();
    const send = outbound([host(["*"], [route("r", prefix("/"), to("one"))])], using);
    for (let i = 0; i < 5; i++) send();
    expect(using.built).toEqual(["one/0"]);
  });

  test("the route's time-out ends a call that gets no answer", () => {
    const env = testEnv();
    const using = mesh([], env);
    const silent: Service = () => {};
    const deps: RouterDeps = {
      ...using.deps,
      cluster: (name) => ({ config: { name } as ClusterConfig, service: () => silent }),
    };
    const service = compileRoutes(
      { name: "rc", virtualHosts: [host(["*"], [route("r", prefix("/"), { ...to("one"), timeoutMs: 100 })])] },
      deps,
    );
    const sink = new Recorder();
    service(makeCall(), sink);
    env.clock.advance(100);
    expect(sink.events).toEqual(["error TIMEOUT"]);
  });

  test("R37: gRPC is bounded by the limit for streams, not by the route's time-out", () => {
    const env = testEnv();
    const deps: RouterDeps = {
      ...mesh([], env).deps,
      cluster: (name) => ({ config: { name } as ClusterConfig, service: () => () => {} }),
    };
    const action = { ...to("one"), timeoutMs: 100, grpcTimeoutMs: 300 };
    const service = compileRoutes({ name: "rc", virtualHosts: [host(["*"], [route("r", prefix("/"), action)])] }, deps);
    const sink = new Recorder();
    service(makeCall({ protocol: "grpc", method: "POST" }), sink);
    env.clock.advance(299);
    expect(sink.events).toEqual([]);
    env.clock.advance(1);
    expect(sink.events).toEqual(["error TIMEOUT"]);
  });

  test("a direct response is given here", () => {
    const body = new TextEncoder().encode("gone");
    const send = outbound([host(["*"], [route("r", prefix("/"), { kind: "direct", status: 410, body })])]);
    const { sink, call } = send();
    expect(sink.events).toEqual(["head 410", "data 4", "end"]);
    expect(call.record).toMatchObject({ route: "r", flag: "-" });
    expect(
      outbound([host(["*"], [route("r", prefix("/"), { kind: "direct", status: 204, body: undefined })])])().sink
        .events,
    ).toEqual(["head 204", "end"]);
  });

  test("an action of the other side fails loudly", () => {
    const { sink } = outbound([host(["*"], [route("r", prefix("/"), { kind: "non_forwarding" })])])();
    expect(sink.error).toMatchObject({ code: "PROTOCOL_ERROR", status: 503 });
  });

  test("law 5: a call that was aborted before is refused with its own reason", () => {
    const using = mesh();
    const service = compileRoutes(
      { name: "rc", virtualHosts: [host(["*"], [route("r", prefix("/"), to("one"))])] },
      using.deps,
    );
    const call = makeCall();
    const reason = new Error("mine");
    call.abort(reason);
    const sink = new Recorder();
    service(call, sink);
    expect(sink.error!.cause).toBe(reason);
    expect(using.forwarded).toEqual([]);
  });
});

describe("R33: overrides by instance name, the most specific level wins", () => {
  const levels = (
    cluster: RbacConfig | "off" | undefined,
    routeLevel: RbacConfig | "off" | undefined,
    vhost: RbacConfig | "off" | undefined,
  ) => {
    const map = (config: RbacConfig | "off" | undefined) =>
      config === undefined ? none : new Map([["authz", config]]);
    const action = { ...to("one"), clusters: [{ name: "one", weight: 1, overrides: map(cluster) }] };
    return [host(["*"], [route("r", prefix("/"), action, { overrides: map(routeLevel) })], { overrides: map(vhost) })];
  };

  test.each([
    ["listener only", undefined, undefined, undefined, true],
    ["virtual host", undefined, undefined, noRules, false],
    ["route before virtual host", undefined, denyAll, noRules, true],
    ["cluster before route", noRules, denyAll, denyAll, false],
    ["off at the cluster", "off", denyAll, denyAll, false],
    ["off at the virtual host, on at the route", undefined, denyAll, "off", true],
  ] as const)("%s", (_name, cluster, routeLevel, vhost, denied) => {
    const { sink } = outbound(levels(cluster, routeLevel, vhost), mesh([rbac(denyAll)]))();
    expect(sink.events[0]).toBe(denied ? "head 403" : "end");
  });

  test("a filter that the listener disables runs only where an override configures it", () => {
    const disabled = [rbac(denyAll, true)];
    expect(outbound(levels(undefined, undefined, undefined), mesh(disabled))().sink.events).toEqual(["end"]);
    expect(outbound(levels(undefined, denyAll, undefined), mesh(disabled))().sink.events[0]).toBe("head 403");
  });

  test("an override under another name touches nothing; one of another kind is refused when it is compiled", () => {
    const other = [
      host(["*"], [route("r", prefix("/"), to("one"), { overrides: new Map([["other", "off" as const]]) })]),
    ];
    expect(outbound(other, mesh([rbac(denyAll)]))().sink.events[0]).toBe("head 403");
    const fault = { kind: "fault" as const, delay: undefined, abort: undefined, headers: [], maxActive: undefined };
    const wrong = [host(["*"], [route("r", prefix("/"), to("one"), { overrides: new Map([["authz", fault]]) })])];
    expect(() => outbound(wrong, mesh([rbac(denyAll)]))).toThrow(/override of filter "authz"/);
  });
});

describe("inbound", () => {
  const serve = (action: Parameters<typeof route>[2], filters: readonly FilterConfig[] = []) => {
    const using = mesh(filters);
    const handled: string[] = [];
    const service = compileInboundRoutes(
      { name: "in", virtualHosts: [host(["*"], [route("r", prefix("/"), action)])] },
      using.deps,
    );
    const sink = new Recorder();
    service((call, answer) => {
      handled.push(call.path);
      answer.onEnd(undefined);
    })(makeCall({ side: "inbound" }), sink);
    return { sink, handled };
  };

  test("non_forwarding gives the call to the handler, after the filters", () => {
    expect(serve({ kind: "non_forwarding" })).toMatchObject({ handled: ["/"], sink: { events: ["end"] } });
    const denied = serve({ kind: "non_forwarding" }, [rbac(denyAll)]);
    expect(denied.handled).toEqual([]);
    expect(denied.sink.events[0]).toBe("head 403");
  });

  test.each([[to("one")], [{ kind: "direct" as const, status: 200, body: undefined }]])(
    "R62: any other action is UNAVAILABLE and never reaches the handler: $kind",
    (action) => {
      const { sink, handled } = serve(action);
      expect(handled).toEqual([]);
      expect(sink.error).toMatchObject({ code: "PROTOCOL_ERROR", status: 503 });
    },
  );

  test("no route is NO_ROUTE; one compiled chain serves several handlers", () => {
    const compiled = compileInboundRoutes(
      { name: "in", virtualHosts: [host(["a"], [route("r", exact("/x"), { kind: "non_forwarding" })])] },
      mesh().deps,
    );
    const seen: string[] = [];
    const one = compiled((_call, sink) => (seen.push("one"), sink.onEnd(undefined)));
    const two = compiled((_call, sink) => (seen.push("two"), sink.onEnd(undefined)));
    one(makeCall({ authority: "a", path: "/x" }), new Recorder());
    two(makeCall({ authority: "a", path: "/x" }), new Recorder());
    expect(seen).toEqual(["one", "two"]);
    const sink = new Recorder();
    two(makeCall({ authority: "a", path: "/y" }), sink);
    expect(sink.events).toEqual(["error NO_ROUTE"]);
  });
});
