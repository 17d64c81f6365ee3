import { describe, expect, it } from "vitest";
import { makeCall } from "../../../../test/kit/call.ts";
import { testEnv } from "../../../../test/kit/env.ts";
import { cluster, endpoint, endpoints, locality } from "../../../../test/kit/mesh-config.ts";
import type { BalancerConfig } from "../config.ts";
import { MeshError } from "../errors.ts";
import { BARRED } from "./endpoint-load.ts";
import { State } from "../state.ts";
import { Cluster } from "./cluster.ts";
import { held } from "../../test/held.ts";

const call = makeCall();
const balancers: BalancerConfig[] = [
  { kind: "round_robin" },
  { kind: "least_request", choices: 2 },
  { kind: "random" },
];

function addresses(from: Cluster, picks = 200): Set<string> {
  const seen = new Set<string>();
  for (let i = 0; i < picks; i++) {
    const picked = from.picker.pick(call);
    seen.add(picked instanceof MeshError ? picked.code : picked.config.address);
  }
  return seen;
}

describe.each(balancers)("health that this process found out, under $kind", (balancer) => {
  it("is laid over the configuration from the next pick on, in every snapshot, and taken back", () => {
    const state = new State();
    const config = cluster("c", { endpoints: endpoints(3), balancer });
    const older = new Cluster(config, testEnv(), state);
    const newer = new Cluster({ ...config }, testEnv(), state);
    const { load } = held(state.clusters.get("c")!, "10.0.0.1:80");
    load.barred = BARRED.ejected;
    newer.healthChanged();
    for (const each of [older, newer]) expect([...addresses(each)].toSorted()).toEqual(["10.0.0.0:80", "10.0.0.2:80"]);
    load.barred = 0;
    older.healthChanged();
    for (const each of [older, newer]) expect(addresses(each).size).toBe(3);
  });

  it("survives a change of the set: the key is the address", () => {
    const state = new State();
    const first = new Cluster(cluster("c", { endpoints: endpoints(2), balancer }), testEnv(), state);
    held(state.clusters.get("c")!, "10.0.0.1:80").load.barred = BARRED.checkFailed;
    const second = new Cluster(cluster("c", { endpoints: endpoints(3), balancer }), testEnv(), state);
    first.dispose();
    expect([...addresses(second)].toSorted()).toEqual(["10.0.0.0:80", "10.0.0.2:80"]);
  });

  it("leaves a locality without anybody out, and answers at once when nobody is left at all", () => {
    const state = new State();
    const zones = [
      locality([endpoint("10.0.0.1:80")], { zone: "a", weight: 99 }),
      locality([endpoint("10.0.0.2:80")], { zone: "b" }),
    ];
    const built = new Cluster(cluster("c", { priorities: [zones], balancer }), testEnv(), state);
    const shared = state.clusters.get("c")!;
    held(shared, "10.0.0.1:80").load.barred = BARRED.ejected;
    built.healthChanged();
    expect([...addresses(built)]).toEqual(["10.0.0.2:80"]);
    held(shared, "10.0.0.2:80").load.barred = BARRED.ejected;
    built.healthChanged();
    expect([...addresses(built)]).toEqual(["NO_HEALTHY_ENDPOINT"]);
  });
});

it("a change of health resets no rotation, and a locality that it does not touch keeps its picker", () => {
  const state = new State();
  const zones = [
    locality(endpoints(4), { zone: "a" }),
    locality([endpoint("10.1.0.1:80"), endpoint("10.1.0.2:80")], { zone: "b" }),
  ];
  const config = cluster("c", { priorities: [zones], balancer: { kind: "round_robin" } });
  const built = new Cluster(config, testEnv(), state);
  addresses(built, 5);
  const shared = state.clusters.get("c")!;
  const before = shared.cursors.get("0/r1/a/")!.value;
  held(shared, "10.1.0.1:80").load.barred = BARRED.ejected;
  built.healthChanged();
  void built.picker;
  expect(shared.cursors.get("0/r1/a/")!.value).toBe(before);
  built.dispose();
  expect(state.clusters.size).toBe(0);
  expect(shared.cursors.size).toBe(0);
});
