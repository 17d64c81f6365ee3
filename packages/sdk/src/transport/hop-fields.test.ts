import { expect, test } from "vitest";

import { endpoints } from "../../../../test/kit/mesh-config.ts";
import { makeCall } from "../../../../test/kit/call.ts";
import { fakeClock } from "../../../../test/kit/clock.ts";
import { cluster } from "../../../../test/kit/mesh-config.ts";
import { Attempt } from "@trama/engine";
import {
  attemptCountField,
  expectedTimeoutField,
  type Hop,
  previousAttemptsField,
  putHopFields,
  readHopField,
} from "./hop-fields.ts";

const newHop = (): Hop => ({ timeoutMs: Infinity, attempt: 1 });

test("a good field is taken over, in any case of its name", () => {
  const hop = newHop();
  expect(readHopField(hop, "X-Envoy-Expected-Rq-Timeout-Ms", "250")).toBeUndefined();
  expect(readHopField(hop, attemptCountField, "2")).toBeUndefined();
  expect(hop).toEqual({ timeoutMs: 250, attempt: 2 });
  // gRPC counts those before (gRFC A6). Whoever counts more knows more.
  expect(readHopField(hop, previousAttemptsField, "3")).toBeUndefined();
  expect(readHopField(hop, previousAttemptsField, "0")).toBeUndefined();
  expect(hop.attempt).toBe(4);
});

test("a bad one is an error, not none", () => {
  for (const text of ["", "0", "-1", "+1", "1.5", "1e3", "0x10", " 1", "1 ", "01", "soon", "99999999999", "1,1", "١"])
    for (const field of [expectedTimeoutField, attemptCountField])
      expect(readHopField(newHop(), field, text), `${field}: ${text}`).toContain("malformed");
  expect(readHopField(newHop(), previousAttemptsField, "-1")).toContain("malformed");
  const twice = newHop();
  readHopField(twice, expectedTimeoutField, "100");
  expect(readHopField(twice, expectedTimeoutField, "100")).toContain("malformed");
});

test("a time-out that no timer can hold means none", () => {
  const hop = newHop();
  expect(readHopField(hop, expectedTimeoutField, "9999999999")).toBeUndefined();
  expect(hop.timeoutMs).toBe(Infinity);
});

test("other fields say nothing", () => {
  const hop = newHop();
  expect(readHopField(hop, "x-envoy-original-path", "7")).toBeUndefined();
  expect(hop).toEqual(newHop());
});

test("an attempt tells what is left of the call, and its number once there is something to tell", () => {
  const clock = fakeClock(1_000);
  const config = cluster("c", { endpoints: endpoints(1) });
  const attempt = (number: number, deadlineMs = Infinity, callerAttempt = 1, tellAttempt = false) => {
    const call = makeCall();
    Object.assign(call, { deadlineMs, callerAttempt, tellAttempt });
    const fields = ["host", "a", "from the last one", "x"];
    fields.length = putHopFields(fields, 2, new Attempt(call, config, endpoints(1)[0]!, number), clock);
    return fields.slice(2);
  };
  expect(attempt(1)).toEqual([]);
  expect(attempt(1, Infinity, 1, true)).toEqual([attemptCountField, "1"]);
  expect(attempt(2)).toEqual([attemptCountField, "2"]);
  expect(attempt(2, Infinity, 3)).toEqual([attemptCountField, "4"]);
  expect(attempt(1, 1_250.9)).toEqual([expectedTimeoutField, "250"]);
  // Never 0, which nobody could read.
  expect(attempt(1, 1_000.1)).toEqual([expectedTimeoutField, "1"]);
});
