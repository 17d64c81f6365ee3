import { expect, it } from "vitest";
import { makeCall } from "../../../../../test/kit/call.ts";
import { testEnv } from "../../../../../test/kit/env.ts";
import { cluster, endpoints } from "../../../../../test/kit/mesh-config.ts";
import { State } from "../../state.ts";
import { Cluster } from "../cluster.ts";
import type { Endpoint } from "../endpoint.ts";

const list = endpoints(20);

function build(shuffle: boolean, of = list, state = new State(), seed = 1): Cluster {
  return new Cluster(
    cluster("c", { endpoints: of, balancer: { kind: "pick_first", shuffle } }),
    testEnv({ seed }),
    state,
  );
}

const first = (of: Cluster, selection = 0): string =>
  (of.picker.pick(makeCall(), selection) as Endpoint).config.address;

it("takes the first, and the next ones for retries that have been there", () => {
  const built = build(false);
  expect([0, 1, 2, 21].map((selection) => first(built, selection))).toEqual(
    [0, 1, 2, 1].map((at) => list[at]!.address),
  );
});

it("shuffled: processes differ, and in one of them the order stays while others come and go", () => {
  expect(
    new Set(Array.from({ length: 20 }, (_, seed) => first(build(true, list, new State(), seed + 1)))).size,
  ).toBeGreaterThan(5);
  const state = new State();
  const before = build(true, list, state);
  const chosen = first(before);
  const fewer = list.filter(({ address }) => address === chosen || address.endsWith("1:80"));
  expect(first(build(true, fewer.toReversed(), state))).toBe(chosen);
});
