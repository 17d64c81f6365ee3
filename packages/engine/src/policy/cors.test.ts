import { describe, expect, test } from "vitest";

import { Recorder, makeCall, testEnv, testState } from "../../test/fixture.ts";
import type { CorsPolicy } from "../config-mutation.ts";
import { HeaderList } from "../headers.ts";
import { noFlow } from "../service.ts";
import { filterLayer } from "./chain.ts";
import { answerFields } from "./cors.ts";
import { buildFilter } from "./registry.ts";

const policy: CorsPolicy = {
  origins: [
    { kind: "exact", value: "https://a.example", ignoreCase: false },
    { kind: "regex", value: "https://[^.]*\\.b\\.example" },
  ],
  allowMethods: "GET,PUT",
  allowHeaders: "x-a,x-b",
  exposeHeaders: "x-version",
  maxAge: "600",
  allowCredentials: false,
  forwardUnmatched: true,
  allowPrivateNetwork: false,
};

/** A call through the filter; what is behind it answers 200 with a field of its own. */
function send(change: Partial<CorsPolicy>, method: string, headers: readonly string[]) {
  const env = testEnv();
  const filter = buildFilter({ kind: "cors", policy: { ...policy, ...change } }, "cors", env, testState())!;
  let passed = false;
  const service = filterLayer(
    [filter],
    env,
  )((_call, sink) => {
    passed = true;
    sink.onHead({ status: 200, headers: HeaderList.ofFlat(["access-control-allow-origin", "*"]) }, noFlow);
    sink.onEnd(undefined);
  });
  const call = makeCall({ method, headers });
  const sink = new Recorder();
  service(call, sink);
  return { passed, call, fields: sink.head?.headers.record() };
}

const preflight = (origin: string, more: readonly string[] = []): string[] => [
  "origin",
  origin,
  "access-control-request-method",
  "PUT",
  ...more,
];

test("without a policy there is no filter at all", () => {
  expect(buildFilter({ kind: "cors", policy: undefined }, "cors", testEnv(), testState())).toBeUndefined();
});

describe("preflights", () => {
  test("are answered here", () => {
    const { passed, fields } = send({ allowCredentials: true }, "OPTIONS", preflight("https://x.b.example"));
    expect(passed).toBe(false);
    expect(fields).toEqual({
      "access-control-allow-origin": "https://x.b.example",
      "access-control-allow-credentials": "true",
      "access-control-allow-methods": "GET,PUT",
      "access-control-allow-headers": "x-a,x-b",
      "access-control-max-age": "600",
      "access-control-expose-headers": "x-version",
      "content-length": "0",
    });
  });

  test("`*` is what was asked for, never the sign itself", () => {
    const asked = preflight("https://a.example", ["access-control-request-headers", "x-z"]);
    expect(send({ allowMethods: "*", allowHeaders: "*" }, "OPTIONS", asked).fields).toMatchObject({
      "access-control-allow-methods": "PUT",
      "access-control-allow-headers": "x-z",
    });
    const nothing = send({ allowHeaders: "*", maxAge: "" }, "OPTIONS", preflight("https://a.example")).fields;
    expect(nothing).toHaveProperty("access-control-allow-headers", "");
    expect(nothing).not.toHaveProperty("access-control-max-age");
  });

  test("of another origin go on, or are answered without one", () => {
    expect(send({}, "OPTIONS", preflight("https://evil.example")).passed).toBe(true);
    const ignored = send({ forwardUnmatched: false }, "OPTIONS", preflight("https://evil.example"));
    expect(ignored.passed).toBe(false);
    expect(ignored.fields).not.toHaveProperty("access-control-allow-origin");
  });

  test("into a private network, where that is allowed and asked for", () => {
    const asked = preflight("https://a.example", ["access-control-request-private-network", "true"]);
    const told = (allowPrivateNetwork: boolean) =>
      send({ allowPrivateNetwork }, "OPTIONS", asked).fields?.["access-control-allow-private-network"];
    expect([told(true), told(false)]).toEqual(["true", undefined]);
  });
});

describe("other requests", () => {
  test("carry the origin, over what stood there, and what may be read", () => {
    const { fields, call } = send({ allowCredentials: true }, "GET", ["origin", "https://a.example"]);
    expect(fields).toEqual({
      "access-control-allow-origin": "https://a.example",
      "access-control-allow-credentials": "true",
      "access-control-expose-headers": "x-version",
    });
    // What a server sets on the answer of its application.
    expect(call.get(answerFields)).toHaveLength(6);
  });

  test.each([
    ["no origin", "GET", []],
    ["an empty one", "GET", ["origin", ""]],
    ["another one", "GET", ["origin", "https://evil.example"]],
    ["OPTIONS that is no preflight", "OPTIONS", ["origin", "https://evil.example"]],
    ["a regex is of the whole text", "GET", ["origin", "https://x.b.example.evil"]],
  ])("%s: nothing is changed", (_name, method, headers) => {
    const { passed, fields } = send({}, method, headers);
    expect([passed, fields]).toEqual([true, { "access-control-allow-origin": "*" }]);
  });

  test("an exact `*` is every origin", () => {
    const any = send({ origins: [{ kind: "exact", value: "*", ignoreCase: false }] }, "GET", ["origin", "null"]);
    expect(any.fields?.["access-control-allow-origin"]).toBe("null");
  });
});
