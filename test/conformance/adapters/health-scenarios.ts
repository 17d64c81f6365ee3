import assert from "node:assert/strict";
import type { MeshConfig, OutlierConfig } from "@trama/engine";

import {
  cluster,
  endpoint,
  forward,
  listener,
  locality,
  meshConfig,
  outlier,
  retryPolicy,
  route,
} from "../../kit/mesh-config.ts";
import type { Behaviour } from "./adapter.ts";
import type { ClientScenario } from "./client-scenarios.ts";

const well =
  (text: string): Behaviour =>
  () => ({ ending: "ok", text });

/** A backend that fails its first calls; counts them all. */
function sick(failures: number): { readonly behaviour: Behaviour; calls: number } {
  const made = {
    calls: 0,
    behaviour: (): ReturnType<Behaviour> =>
      made.calls++ < failures ? { ending: "unavailable", text: "not now" } : { ending: "ok", text: "sick" },
  };
  return made;
}

/** `reviews:9090` with three failures in a row ejecting; each list of addresses is a priority. */
function detected(
  priorities: readonly (readonly string[])[],
  detection: Partial<OutlierConfig>,
  retries: number,
): MeshConfig {
  const rates = { ...outlier().successRate, enforcing: 0, enforcingLocalOrigin: 0 };
  const retry = {
    retryOn: ["5xx", "unavailable"],
    retries,
    backoffBaseMs: 1,
    backoffMaxMs: 2,
    avoidPreviousHosts: true,
  };
  const action = forward("c", { retry: retries === 0 ? undefined : retryPolicy(retry) });
  return meshConfig({
    outbound: [listener("reviews:9090", [route(action)])],
    clusters: [
      cluster("c", {
        priorities: priorities.map((list) => [locality(list.map((address) => endpoint(address)))]),
        balancer: { kind: "round_robin" },
        outlier: outlier({ consecutive5xx: 3, maxEjectionPercent: 50, successRate: rates, ...detection }),
      }),
    ],
  });
}

/** What is found out of endpoints by the status of their answers, whichever way the library tells it. */
export const healthScenarios: Readonly<Record<string, ClientScenario>> = {
  "failing-endpoint-is-ejected": async (adapter, scope) => {
    const failing = sick(Infinity);
    const addresses = [await adapter.backend(scope, failing.behaviour), await adapter.backend(scope, well("well"))];
    const client = adapter.open(scope, detected([addresses], {}, 0));
    const endings: string[] = [];
    for (let i = 0; i < 20; i++) endings.push((await client.call()).ending);
    assert.equal(failing.calls, 3);
    assert.equal(endings.filter((each) => each === "unavailable").length, 3);
    assert.deepEqual(new Set(endings.slice(-10)), new Set(["ok"]));
  },
  "ejected-endpoint-is-tried-and-back": async (adapter, scope) => {
    const healing = sick(3);
    const addresses = [await adapter.backend(scope, healing.behaviour), await adapter.backend(scope, well("well"))];
    const client = adapter.open(scope, detected([addresses], { intervalMs: 20, baseEjectionMs: 40 }, 2));
    // No caller sees anything of it.
    for (let back = 0; back < 3;) {
      const { ending, text } = await client.call();
      assert.equal(ending, "ok");
      if (text === "sick") back++;
    }
    assert.ok(healing.calls >= 6);
  },
  "fails-over-to-the-next-priority": async (adapter, scope) => {
    const failing = sick(Infinity);
    const near = await adapter.backend(scope, failing.behaviour);
    const far = await adapter.backend(scope, well("far"));
    const client = adapter.open(scope, detected([[near], [far]], {}, 0));
    const texts: string[] = [];
    for (let i = 0; i < 8; i++) texts.push((await client.call()).text);
    assert.equal(failing.calls, 3);
    assert.deepEqual(texts.slice(3), ["far", "far", "far", "far", "far"]);
  },
};
