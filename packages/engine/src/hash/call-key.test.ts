import { describe, expect, it } from "vitest";
import { makeCall, makePeer } from "../../../../test/kit/call.ts";
import type { CallOptions } from "../../../../test/kit/call.ts";
import { testEnv } from "../../../../test/kit/env.ts";
import { TestSink } from "../../../../test/kit/sink.ts";
import type { Call } from "../call.ts";
import type { HashPolicy, HashSource } from "../config.ts";
import { HeaderList } from "../headers.ts";
import { noFlow } from "../service.ts";
import { RouteKey, compileHash } from "./call-key.ts";
import { cookieValue } from "./cookie.ts";
import { keyed } from "./keyed.ts";
import { xxHash64 } from "./xxhash64.ts";

const mask = 0xffff_ffff_ffff_ffffn;
const joined = ({ high, low }: { high: number; low: number }): bigint =>
  (BigInt(high >>> 0) << 32n) | BigInt(low >>> 0);

function hash(text: string, seed = 0n): bigint {
  const into = { high: 0, low: 0 };
  xxHash64(text, into, Number(seed >> 32n) | 0, Number(seed & 0xffff_ffffn) | 0);
  return joined(into);
}

const header = (name: string, rewrite?: { pattern: string; substitution: string }): HashSource => ({
  kind: "header",
  name,
  rewrite,
});
const cookie = (ttlMs: number | undefined, attributes: { name: string; value: string }[] = []): HashSource => ({
  kind: "cookie",
  name: "user",
  ttlMs,
  path: "/shop",
  attributes,
});
const all = (...sources: HashSource[]): HashPolicy[] => sources.map((each) => ({ ...each, terminal: false }));

function plan(policies: readonly HashPolicy[], counter = { value: 0 }) {
  return compileHash(policies, { ...testEnv(), address: "10.1.1.1" }, () => counter)!;
}

/** The key of a call; `undefined` when there is none. */
function keyOf(policies: readonly HashPolicy[], options: CallOptions | Call): bigint | undefined {
  const key = new RouteKey(plan(policies));
  const call = "record" in options ? options : makeCall(options);
  return key.known(call) ? joined(key) : undefined;
}

describe("what is hashed (R46)", () => {
  it("a header: its value, after the rewrite; nothing when it is absent", () => {
    expect(keyOf(all(header("x-user")), { headers: { "X-User": "jason" } })).toBe(hash("jason"));
    expect(keyOf(all(header("x-user")), {})).toBeUndefined();
    const rewrite = { pattern: "/v[0-9]+", substitution: "" };
    expect(keyOf(all(header(":path", rewrite)), { path: "/v1/a/v22" })).toBe(hash("/a"));
    expect(keyOf(all(header("host")), { authority: "a:1" })).toBe(hash("a:1"));
  });

  it("several values of a header: gRPC joins them, HTTP hashes them one after the other, sorted, as Envoy does", () => {
    const call = (protocol: "http" | "grpc"): Call => {
      const made = makeCall({ protocol });
      for (const value of ["b", "a"]) made.headers.append("x-user", value);
      return made;
    };
    expect(keyOf(all(header("x-user")), call("grpc"))).toBe(hash("b,a"));
    expect(keyOf(all(header("x-user")), call("http"))).toBe(hash("b", hash("a")));
  });

  it("binary metadata is not seen in gRPC (R31)", () => {
    const headers = { "x-user-bin": "AA" };
    expect(keyOf(all(header("x-user-bin")), { headers, protocol: "grpc" })).toBeUndefined();
    expect(keyOf(all(header("x-user-bin")), { headers })).toBe(hash("AA"));
  });

  it("a query parameter, the first of its name, as it was sent", () => {
    expect(keyOf(all({ kind: "query", name: "u" }), { path: "/?v=1&u=a%20b&u=c" })).toBe(hash("a%20b"));
    expect(keyOf(all({ kind: "query", name: "u" }), { path: "/?v=1" })).toBeUndefined();
  });

  it("the source: of the connection that the call came by, else of the workload", () => {
    expect(keyOf(all({ kind: "source_ip" }), {})).toBe(hash("10.1.1.1"));
    expect(keyOf(all({ kind: "source_ip" }), { peer: makePeer({ remoteAddress: "10.2.2.2" }) })).toBe(hash("10.2.2.2"));
  });

  it("the channel: one key for all calls, whatever is compiled anew", () => {
    const counter = { value: 0 };
    const keys = [1, 2, 3].map(() => {
      const key = new RouteKey(plan(all({ kind: "channel" }), counter));
      expect(key.known(makeCall())).toBe(true);
      return joined(key);
    });
    expect(new Set(keys).size).toBe(1);
  });

  it("a cookie: its value, with or without quotes, whatever stands around it", () => {
    const value = (line: string): string => cookieValue(HeaderList.ofRecord({ cookie: line }), "user");
    expect(value("user=jason")).toBe("jason");
    expect(value('a=b;  user="ja;son" ; c')).toBe('"ja');
    expect(value('a=b; user="jason"')).toBe("jason");
    expect(value("xuser=1; userx=2; user; user=3; user=4")).toBe("3");
    expect(value("")).toBe("");
    expect(keyOf(all(cookie(undefined)), { headers: { cookie: "user=jason" } })).toBe(hash("jason"));
    expect(keyOf(all(cookie(undefined)), { headers: { cookie: "user=" } })).toBeUndefined();
  });
});

describe("how hashes are combined (R46)", () => {
  const headers = { a: "1", b: "2", c: "3" };
  const rotated = (n: bigint): bigint => ((n << 1n) & mask) | (n >> 63n);

  it("rotate and xor, in order; what says nothing changes nothing", () => {
    const two = rotated(hash("1")) ^ hash("2");
    expect(keyOf(all(header("a"), header("x"), header("b")), { headers })).toBe(two);
    expect(keyOf(all(header("a"), header("b"), header("c")), { headers })).toBe(rotated(two) ^ hash("3"));
    expect(keyOf(all(header("a"), header("a")), { headers })).not.toBe(0n);
  });

  it("a terminal policy ends the list once there is a hash", () => {
    const [first, second] = [header("x"), header("a")].map((each) => ({ ...each, terminal: true }));
    expect(keyOf([first!, second!, { ...header("b"), terminal: false }], { headers })).toBe(hash("1"));
  });
});

describe("a cookie is given", () => {
  function answered(policies: readonly HashPolicy[], call: Call, ask: boolean): string[] {
    const sink = new TestSink();
    keyed(plan(policies))((each, to) => {
      if (ask) expect(each.key!.known(each)).toBe(true);
      to.onHead({ status: 200, headers: HeaderList.empty() }, noFlow);
      to.onEnd(undefined);
    })(call, sink);
    return [...sink.head!.headers.all("set-cookie")];
  }

  it("to a caller without it, with the answer, and it leads back to the same key", () => {
    const attributes = [
      { name: "SameSite", value: "Strict" },
      { name: "Secure", value: "" },
    ];
    const policies = all(cookie(90_500, attributes));
    const call = makeCall();
    const [line, ...more] = answered(policies, call, true);
    expect(more).toEqual([]);
    const [, value] = /^user="([0-9a-f]{16})"; Max-Age=90; Path=\/shop; SameSite=Strict; Secure; HttpOnly$/.exec(
      line!,
    )!;
    expect(hash(value!)).toBe(joined(call.key!));
    expect(answered(policies, makeCall({ headers: { cookie: `user=${value!}` } }), true)).toEqual([]);
  });

  it("without an end when its life is 0, and not at all without a life", () => {
    expect(answered(all(cookie(0)), makeCall(), true)[0]).toMatch(/^user="[0-9a-f]{16}"; Path=\/shop; HttpOnly$/);
    expect(keyOf(all(cookie(undefined)), {})).toBeUndefined();
  });

  it("only when a balancer asked for the key: nothing is made up for a cluster that does not hash", () => {
    expect(answered(all(cookie(1_000)), makeCall(), false)).toEqual([]);
  });
});
