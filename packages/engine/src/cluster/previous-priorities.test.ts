import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { makeCall } from "../../../../test/kit/call.ts";
import { testEnv } from "../../../../test/kit/env.ts";
import { cluster, endpoint, endpoints, locality } from "../../../../test/kit/mesh-config.ts";
import { answers } from "../../../../test/kit/peer.ts";
import { MeshError } from "../errors.ts";
import { BARRED } from "./endpoint-load.ts";
import { State } from "../state.ts";
import { Cluster } from "./cluster.ts";
import type { Endpoint } from "./endpoint.ts";
import { avoidedPriorities } from "./previous-priorities.ts";
import { world } from "../../test/attempt-world.ts";
import { held } from "../../test/held.ts";

const all = [true, true, true];

describe("which priorities a retry stays away from", () => {
  it("none before the first update, then those tried, more with each update", () => {
    expect(avoidedPriorities([], 2, all)).toBeUndefined();
    expect(avoidedPriorities([0], 2, all)).toBeUndefined();
    expect(avoidedPriorities([0, 0], 2, all)).toEqual([true, false, false]);
    expect(avoidedPriorities([0, 0, 1], 2, all)).toEqual([true, false, false]);
    expect(avoidedPriorities([0, 0, 1, 1], 2, all)).toEqual([true, true, false]);
    expect(avoidedPriorities([0], 1, all)).toEqual([true, false, false]);
  });

  it("all count again when nobody else is left, and it begins anew", () => {
    expect(avoidedPriorities([0, 1, 2], 1, all)).toBeUndefined();
    expect(avoidedPriorities([0, 1, 2, 0], 1, all)).toEqual([true, false, false]);
    expect(avoidedPriorities([0], 1, [true, false])).toBeUndefined();
  });

  it("never leaves nobody", () => {
    fc.assert(
      fc.property(
        fc.array(fc.boolean(), { minLength: 1, maxLength: 4 }),
        fc.array(fc.nat(3), { maxLength: 12 }),
        fc.integer({ min: 1, max: 4 }),
        (serves, tried, every) => {
          const avoided = avoidedPriorities(
            tried.map((at) => at % serves.length),
            every,
            serves,
          );
          if (avoided !== undefined) expect(serves.some((some, at) => some && !avoided[at])).toBe(true);
        },
      ),
    );
  });
});

const priorities = [
  [locality(endpoints(3), { zone: "near" })],
  [locality([endpoint("10.1.0.1:80"), endpoint("10.1.0.2:80")], { zone: "far" })],
];

it("the cluster picks beyond them, by the loads that the others would have", () => {
  const state = new State();
  const built = new Cluster(cluster("c", { priorities }), testEnv(), state);
  const call = makeCall();
  const near = built.picker.pick(call) as Endpoint;
  const beyond = (tried: readonly Endpoint[]): string => {
    const picked = built.beyond(tried, 1).pick(call);
    return picked instanceof MeshError ? picked.code : picked.config.address;
  };
  expect(near.config.address).toMatch(/^10\.0\./);
  for (let i = 0; i < 50; i++) expect(beyond([near])).toMatch(/^10\.1\./);
  // Nobody is left there: all count again.
  for (const address of ["10.1.0.1:80", "10.1.0.2:80"])
    held(state.clusters.get("c")!, address).load.barred = BARRED.ejected;
  built.healthChanged();
  for (let i = 0; i < 50; i++) expect(beyond([near])).toMatch(/^10\.0\./);
});

it("attempts: the first retry stays near, the second goes far (Istio's update frequency of 2)", () => {
  const script = [answers(503), answers(503), answers(503), answers(200)];
  const { env, peer, go, idle } = world({ retries: 3, avoidPreviousPriorities: 2, avoidPreviousHosts: true }, script, {
    priorities,
  });
  go();
  env.clock.advance(5_000);
  expect(peer.tried.map((address) => address.startsWith("10.0."))).toEqual([true, true, false, false]);
  expect(new Set(peer.tried).size).toBe(4);
  idle();
});
