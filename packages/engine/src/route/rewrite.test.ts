import * as fc from "fast-check";
import { describe, expect, test } from "vitest";

import { Recorder, exact, host, makeCall, prefix, regex, route, testEnv, testState, to } from "../../test/fixture.ts";
import type { CallOptions } from "../../test/fixture.ts";
import type { HeaderOperations, RedirectAction, Rewrite } from "../config-mutation.ts";
import type { PathMatch, RouteConfig } from "../config.ts";
import type { Call } from "../call.ts";
import { HeaderList } from "../headers.ts";
import { substitutionFault } from "../match/regex.ts";
import { noFlow } from "../service.ts";
import { compilePathRewrite } from "./rewrite.ts";
import { compileRoutes } from "./router.ts";

/** Sends a call through one route; gives what went on, and what came back. */
function send(rule: RouteConfig, options: CallOptions = {}, answered: readonly string[] = []) {
  const env = testEnv();
  let forwarded: Call | undefined;
  const service = compileRoutes(
    { name: "rc", virtualHosts: [host(["*"], [rule])] },
    {
      env,
      filters: [],
      state: testState(),
      cluster: (name) => ({
        config: { name, service: undefined },
        service: () => (call, sink) => {
          forwarded = call;
          sink.onHead({ status: 200, headers: HeaderList.ofFlat(answered) }, noFlow);
          sink.onEnd(undefined);
        },
      }),
    },
  );
  const sink = new Recorder();
  const call = makeCall(options);
  service(call, sink);
  return { forwarded, sink, call };
}

const nothing: Rewrite = { path: undefined, authority: undefined, forwardHost: false };
const rewriting = (rewrite: Partial<Rewrite>, match = prefix("/a")) =>
  route("r", match, { ...to("one"), rewrite: { ...nothing, ...rewrite } });

describe("rewrite", () => {
  test.each<[PathMatch, string, string, string]>([
    [{ kind: "prefix", value: "/a", ignoreCase: false }, "/new", "/a/b?c=/a", "/new/b?c=/a"],
    [{ kind: "prefix", value: "/A", ignoreCase: true }, "/new", "/ab", "/newb"],
    [{ kind: "exact", value: "/a", ignoreCase: false }, "/new", "/a?x", "/new?x"],
    [{ kind: "segments", value: "/a", ignoreCase: false }, "/new", "/a/b", "/new/b"],
    [{ kind: "segments", value: "/a/", ignoreCase: false }, "/new", "/a/b", "/new/b"],
    [{ kind: "regex", value: "/a.*" }, "/new", "/a/b/c?d", "/new?d"],
  ])("in place of what the match compared: %j", (match, value, path, wanted) => {
    expect(compilePathRewrite({ kind: "matched", value }, match, { regex })(path)).toBe(wanted);
  });

  test("a regex never sees the query, and groups go where they are named", () => {
    const rewrite = compilePathRewrite(
      { kind: "regex", pattern: "^/([^/]+)", substitution: "/x" },
      { kind: "prefix", value: "/", ignoreCase: false },
      { regex },
    );
    expect(rewrite("/a/b?/c")).toBe("/x/b?/c");
  });

  test("the prefix and the query survive any rewrite, whatever the path", () => {
    const text = fc.stringMatching(/^[a-c/]{0,6}$/);
    fc.assert(
      fc.property(text, text, text, text, (before, after, rest, query) => {
        const match: PathMatch = { kind: "prefix", value: `/${before}`, ignoreCase: false };
        const rewrite = compilePathRewrite({ kind: "matched", value: `/${after}` }, match, { regex });
        expect(rewrite(`/${before}${rest}?${query}`)).toBe(`/${after}${rest}?${query}`);
        expect(rewrite(`/${before}${rest}`)).toBe(`/${after}${rest}`);
      }),
    );
  });

  test("the authority, and with it a Host of the application's own; the old one is kept where that is asked", () => {
    const literal = { kind: "literal", value: "b.example" } as const;
    const { forwarded } = send(rewriting({ authority: literal, forwardHost: true }), {
      path: "/a",
      headers: ["host", "mine", "x-forwarded-host", "edge"],
    });
    expect(forwarded?.authority).toBe("b.example");
    expect(forwarded?.headers.get("host")).toBe("b.example");
    expect(forwarded?.headers.get("x-forwarded-host")).toBe("edge,reviews:9080");
    const header = { kind: "header", name: "x-to" } as const;
    const to = (headers: string[]) =>
      send(rewriting({ authority: header }), { path: "/a", headers }).forwarded?.authority;
    expect([to(["x-to", "c"]), to([]), to(["x-to", ""])]).toEqual(["c", "reviews:9080", "reviews:9080"]);
  });

  test("a path that would not begin with a slash is refused before anything is sent", () => {
    const path = { kind: "regex", pattern: "^/", substitution: "" } as const;
    const { forwarded, sink } = send(rewriting({ path }), { path: "/a" });
    expect(forwarded).toBeUndefined();
    expect(sink.error).toMatchObject({ code: "BAD_REQUEST", sent: false });
  });

  test("values are made out of what was not rewritten yet", () => {
    const request = {
      remove: [],
      write: [{ name: "x-was", value: "%REQ(:path)%", action: "append", keepEmpty: false } as const],
    };
    const path = { kind: "matched", value: "/new" } as const;
    const headers = { request, response: undefined };
    const { forwarded } = send({ ...rewriting({ path }), headers }, { path: "/a/b" });
    expect([forwarded?.path, forwarded?.headers.get("x-was")]).toEqual(["/new/b", "/a/b"]);
  });

  test.each([
    ["(a)(?:b)(?P<c>c)[(]\\(\\Q(\\E", "\\2", undefined],
    ["(a)(?:b)(?P<c>c)[(]\\(\\Q(\\E", "\\3", "the pattern has no group \\3, only 2"],
    ["[]()]([[:alpha:](])", "\\1\\0\\\\", undefined],
    ["a", "\\", "a backslash must be followed by a digit or by another backslash"],
  ])("groups of %s in %s", (pattern, substitution, fault) => {
    expect(substitutionFault(pattern, substitution)).toBe(fault);
  });
});

describe("redirect", () => {
  const stay: RedirectAction = {
    kind: "redirect",
    status: 301,
    scheme: undefined,
    authority: undefined,
    port: undefined,
    path: undefined,
    stripQuery: false,
  };
  const location = (action: Partial<RedirectAction>, options: CallOptions = {}) => {
    const { sink, forwarded } = send(route("r", prefix("/a"), { ...stay, ...action }), { path: "/a/b?c", ...options });
    expect(forwarded).toBeUndefined();
    return sink.head?.headers.get("location");
  };

  test.each<[Partial<RedirectAction>, string]>([
    [{}, "http://reviews:9080/a/b?c"],
    [{ authority: "b.example" }, "http://b.example/a/b?c"],
    [{ port: 81 }, "http://reviews:81/a/b?c"],
    [{ scheme: "https" }, "https://reviews:9080/a/b?c"],
    [{ path: { kind: "whole", value: "/x" } }, "http://reviews:9080/x?c"],
    [{ path: { kind: "whole", value: "/x?y" }, stripQuery: true }, "http://reviews:9080/x?y"],
    [{ path: { kind: "whole", value: "/x" }, stripQuery: true }, "http://reviews:9080/x"],
    [{ path: { kind: "matched", value: "/n" } }, "http://reviews:9080/n/b?c"],
    [{ path: { kind: "regex", pattern: "b", substitution: "z" }, stripQuery: true }, "http://reviews:9080/a/z"],
  ])("%j", (action, wanted) => expect(location(action)).toBe(wanted));

  test("the port that a scheme left behind goes with it, IPv6 or not", () => {
    expect(location({ scheme: "https" }, { authority: "a:80" })).toBe("https://a/a/b?c");
    expect(location({ scheme: "http" }, { authority: "a:80" })).toBe("http://a:80/a/b?c");
    expect(location({ scheme: "http" }, { authority: "a:443", scheme: "https" })).toBe("http://a/a/b?c");
    expect(location({ port: 1 }, { authority: "[::1]:80" })).toBe("http://[::1]:1/a/b?c");
    expect(location({ port: 1 }, { authority: "[::1]" })).toBe("http://[::1]:1/a/b?c");
  });

  test("gRPC gets a status, not a place to go to", () => {
    const { sink } = send(route("r", prefix("/a"), { ...stay, status: 302 }), { path: "/a", protocol: "grpc" });
    expect(sink.head?.headers.get("grpc-status")).toBe("2");
  });
});

describe("answers", () => {
  const headers: HeaderOperations = {
    request: undefined,
    response: {
      remove: ["server"],
      write: [{ name: "content-type", value: "application/json", action: "overwrite", keepEmpty: false }],
    },
  };

  test("of an upstream and of our own are edited alike", () => {
    const upstream = send({ ...route("r", prefix("/"), to("one")), headers }, {}, [
      "server",
      "x",
      "content-type",
      "text/html",
    ]);
    expect(upstream.sink.head?.headers.flat()).toEqual(["content-type", "application/json"]);
    const body = new TextEncoder().encode("{}");
    const own = send({ ...route("r", exact("/"), { kind: "direct", status: 200, body }), headers });
    expect(own.sink.head?.headers.flat()).toEqual(["content-type", "application/json", "content-length", "2"]);
  });

  test("a value that cannot be sent ends the call, and what is under way with it", () => {
    const bad: HeaderOperations = {
      request: undefined,
      response: { remove: [], write: [{ name: "a", value: "%REQ(x)%", action: "append", keepEmpty: false }] },
    };
    const { sink, call } = send({ ...route("r", prefix("/"), to("one")), headers: bad }, { headers: ["x", "\n"] });
    expect(sink.events).toEqual(["error BAD_REQUEST"]);
    expect(call.aborted).toBe(sink.error);
  });
});
