import * as fc from "fast-check";
import { describe, expect, test } from "vitest";

import { makeCall } from "../../test/fixture.ts";
import type { FieldOperations, FieldWrite } from "../config-mutation.ts";
import { HeaderList } from "../headers.ts";
import { compileFormat, formatFault } from "./format.ts";
import { compileFields } from "./header-operations.ts";

const write = (name: string, value: string, more: Partial<FieldWrite> = {}): FieldWrite => ({
  name,
  value,
  action: "append",
  keepEmpty: false,
  ...more,
});

describe("the values that policy makes", () => {
  const call = makeCall({ path: "/a?b", method: "PUT", headers: ["x-user", "ann", "x-user", "bob"] });
  call.record.route = "main";
  call.record.cluster = { name: "c", service: undefined };
  const answer = HeaderList.ofFlat(["x-version", "7"]);

  test.each([
    ["plain", "plain"],
    ["50%%", "50%"],
    ["%REQ(X-User)%", "ann"],
    ["%REQ(none)%", ""],
    ["%REQ(none?x-user):2%", "an"],
    ["%REQ(:path)% %REQ(:method)% %REQ(:authority)% %REQ(:scheme)%", "/a?b PUT reviews:9080 http"],
    ["%REQ(host)%", "reviews:9080"],
    ["v%RESP(x-version)%", "v7"],
    ["%ROUTE_NAME%/%UPSTREAM_CLUSTER%", "main/c"],
    // Text of policy goes out as its bytes.
    ["café", "cafÃ©"],
  ])("%s", (text, value) => {
    const format = compileFormat(text);
    expect(typeof format === "string" ? format : format(call, answer)).toBe(value);
  });

  test.each([
    "5%",
    "%REQ()%",
    "%REQ(a b)%",
    "%REQ(x",
    "%START_TIME%",
    "%ROUTE_NAME(x)%",
    "%REQ(:status)%",
    "%RESP(:status)%",
  ])("refused: %s", (text) => expect(formatFault(text)).toMatch(/./));

  test("an answer is not known while the request is made", () => {
    const format = compileFormat("<%RESP(x-version)%%UPSTREAM_HOST%>");
    expect(typeof format === "string" ? format : format(call, undefined)).toBe("<>");
  });
});

test("a value with a line break in it ends the call before anything is written", () => {
  const edit = compileFields({ remove: [], write: [write("a", "fixed"), write("b", "%REQ(x)%")] });
  const call = makeCall({ headers: ["x", "1\r\ny: 2"] });
  const headers = HeaderList.empty();
  expect(edit(headers, call, undefined)).toMatchObject({ code: "BAD_REQUEST", sent: false });
  expect(headers.flat()).toEqual([]);
});

test("like the slow way: one field after the other, from a list of pairs", () => {
  const names = ["a", "b", "c"];
  const value = fc.constantFrom("", "1", "2", "%REQ(a)%", "%REQ(b?c)%", "x%REQ(c)%");
  const operation = fc.record({
    name: fc.constantFrom(...names),
    value,
    action: fc.constantFrom<FieldWrite["action"][]>("append", "add_if_absent", "overwrite", "overwrite_if_present"),
    keepEmpty: fc.boolean(),
  });
  const operations = fc.record({
    remove: fc.array(fc.constantFrom(...names), { maxLength: 2 }),
    write: fc.array(operation, { maxLength: 4 }),
  });
  const fields = fc.array(fc.tuple(fc.constantFrom("a", "B", "c", "d"), fc.constantFrom("", "u", "v")), {
    maxLength: 5,
  });
  fc.assert(
    fc.property(operations, fields, (todo, before) => {
      const call = makeCall({ headers: before.flat() });
      expect(compileFields(todo)(call.headers, call, undefined)).toBeUndefined();
      expect(pairs(call.headers.flat())).toEqual(slowly(todo, before));
    }),
    { numRuns: 500 },
  );
});

/** By name, each with its values in order: where in the list a field stands says nothing (RFC 9110 §5.3). */
function pairs(flat: readonly string[]): Record<string, string[]> {
  const found: Record<string, string[]> = {};
  for (let i = 0; i < flat.length; i += 2) (found[flat[i]!.toLowerCase()] ??= []).push(flat[i + 1]!);
  return found;
}

function slowly(
  { remove, write: writes }: FieldOperations,
  before: readonly [string, string][],
): Record<string, string[]> {
  const now = pairs(before.flat());
  for (const name of remove) delete now[name];
  const original = { ...now };
  const first = (name: string): string | undefined => original[name]?.[0];
  const made = (text: string): string =>
    ({
      "%REQ(a)%": first("a") ?? "",
      "%REQ(b?c)%": first("b") ?? first("c") ?? "",
      "x%REQ(c)%": `x${first("c") ?? ""}`,
    })[text] ?? text;
  const wanted = writes
    .map((one) => ({ ...one, value: made(one.value) }))
    .filter(({ value, keepEmpty }) => value !== "" || keepEmpty);
  for (const { name, value, action } of wanted)
    if (action === "overwrite" || (action === "overwrite_if_present" && original[name] !== undefined))
      now[name] = [value];
  for (const { name, value, action } of wanted)
    if (action === "append" || (action === "add_if_absent" && original[name] === undefined))
      now[name] = [...(now[name] ?? []), value];
  return now;
}
