import { describe, expect, it } from "vitest";
import { endpoints, endpoint, locality, outlier } from "../../../../test/kit/mesh-config.ts";
import type { ClusterOptions } from "../../../../test/kit/mesh-config.ts";
import { answers, fails, waits } from "../../../../test/kit/peer.ts";
import type { Answer } from "../../../../test/kit/peer.ts";
import { world } from "../../test/attempt-world.ts";
import { BARRED } from "../cluster/endpoint-load.ts";
import { held } from "../../test/held.ts";

const policy = { retryOn: ["5xx"], retries: 1 };
const sick = "10.0.0.0:80";

/**
 * Of three endpoints the first one is ejected, and its time is over: the script begins there. `settle` lets what is due
 * at once happen.
 */
function halfOpen(script: Answer[], config = {}, options: ClusterOptions = {}, stillOut = true) {
  const rates = { ...outlier().successRate, enforcing: 0, enforcingLocalOrigin: 0 };
  const detection = outlier({ maxEjectionPercent: 34, successRate: rates, ...config });
  const made = world(policy, script, { endpoints: endpoints(3), outlier: detection, ...options });
  const at = held(made.counts, sick);
  const { load } = at;
  for (let i = 0; i < 5; i++) made.compiled.attemptEnded(at, 500, -1, undefined, -1, true);
  made.env.clock.advance(30_000);
  const out = (): boolean => (load.barred & BARRED.ejected) !== 0;
  expect(out()).toBe(stillOut);
  return { ...made, out, settle: () => made.env.clock.advance(1_000) };
}

describe("an endpoint whose time is over is tried by one request", () => {
  it("that may be repeated elsewhere; answered well it is back", () => {
    const { go, peer, out } = halfOpen([answers(200)]);
    go();
    expect(peer.tried).toEqual([sick]);
    expect(out()).toBe(false);
  });

  it("and by no second one while the first is under way", () => {
    const { go, peer, out } = halfOpen([waits]);
    peer.allow(20);
    for (let i = 0; i < 20; i++) go();
    expect(peer.tried.filter((each) => each === sick)).toHaveLength(1);
    // The head is answer enough: the rest may be a stream.
    peer.exchanges[0]!.head(200);
    expect(out()).toBe(false);
  });

  it("that fails: it is out for longer, and the caller is answered by another", () => {
    const { go, peer, out, env, settle } = halfOpen([answers(503), answers(200)]);
    const { sink } = go();
    settle();
    expect(sink.status).toBe(200);
    expect(peer.tried[0]).toBe(sick);
    expect(peer.tried[1]).not.toBe(sick);
    env.clock.advance(50_000);
    peer.allow(10);
    for (let i = 0; i < 10; i++) go();
    expect(out()).toBe(true);
    expect(peer.tried.slice(2)).not.toContain(sick);
    env.clock.advance(10_000);
    peer.allow(1);
    go();
    expect(out()).toBe(false);
  });

  it("whose caller gave up: the next one tries", () => {
    const { go, peer, out } = halfOpen([waits, answers(200)]);
    go().call.abort("enough");
    expect(out()).toBe(true);
    go();
    expect(peer.tried).toEqual([sick, sick]);
    expect(out()).toBe(false);
  });

  it("of gRPC, by the status in its trailers where its head says nothing", () => {
    const { compiled, out } = halfOpen([]);
    const probe = compiled.takeProbe()!;
    compiled.attemptEnded(probe, 200, 14, undefined, -1, true);
    expect(out()).toBe(true);
  });

  it("that was refused for want of places: none is lost", () => {
    const { go, out, counts } = halfOpen([answers(200)], {}, { breaker: { maxRequests: 1 } });
    counts.requests = 1;
    go();
    counts.requests = 0;
    expect(out()).toBe(true);
    go();
    expect(out()).toBe(false);
  });
});

describe("nobody is tried", () => {
  it("with a request that cannot be repeated: who finds no other in an interval is back as in Envoy", () => {
    const { go, peer, out, env } = halfOpen([]);
    peer.allow(20);
    for (let i = 0; i < 20; i++) go({ method: "POST" });
    expect(peer.tried).not.toContain(sick);
    env.clock.advance(10_000);
    expect(out()).toBe(false);
  });

  it("by an attempt that began before: its end is no answer to the question", () => {
    const { compiled, counts, out } = halfOpen([]);
    expect(compiled.takeProbe()).toBeDefined();
    compiled.attemptEnded(held(counts, sick), 200, -1, undefined, -1, true);
    expect(out()).toBe(true);
  });

  it("whom active checks hold to be dead", () => {
    const { compiled, counts } = halfOpen([]);
    held(counts, sick).load.barred |= BARRED.checkFailed;
    expect(compiled.takeProbe()).toBeUndefined();
  });

  it("in a priority below the one that serves", () => {
    const near = locality([endpoint("10.1.0.1:80")], { zone: "near" });
    const far = locality(endpoints(3), { zone: "far" });
    const { compiled } = halfOpen([], {}, { priorities: [[near], [far]] });
    expect(compiled.takeProbe()).toBeUndefined();
  });

  it("where probing is off: all are back in the sweep", () => {
    const { peer, out } = halfOpen([], { probing: false }, {}, false);
    expect(out()).toBe(false);
    expect(peer.tried).toEqual([]);
  });
});

it("with nobody else left, the one whose time is over is tried before a call is refused", () => {
  const { go, peer, counts, compiled } = halfOpen([fails("CONNECT_FAILED", false)]);
  for (const address of ["10.0.0.1:80", "10.0.0.2:80"]) held(counts, address).load.barred = BARRED.checkFailed;
  compiled.healthChanged();
  go();
  expect(peer.tried).toEqual([sick]);
});
