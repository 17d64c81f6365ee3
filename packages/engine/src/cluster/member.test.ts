import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { cluster, endpoint, endpoints, locality } from "../../../../test/kit/mesh-config.ts";
import type { EndpointConfig, LocalityEndpoints } from "../config.ts";
import { finish } from "../slices.ts";
import { goneLoad, idleLoad, newEndpointLoad } from "./endpoint-load.ts";
import { newClusterState } from "../state.ts";
import type { ClusterState } from "../state.ts";
import { enter, leave } from "./member.ts";
import type { Member } from "./member.ts";

const pool = Array.from({ length: 40 }, (_, at) => endpoint(`10.0.0.${at}:80`));
/** The same addresses, said anew. */
const again = pool.map((each) => ({ ...each }));

/** Counts something in each. */
function touch(...members: Member[]): void {
  for (const { endpoints: all } of members) for (const each of all.flat()) each.load.active++;
}

function join(shared: ClusterState, configs: readonly EndpointConfig[]): Member {
  return finish(enter(cluster("c", { endpoints: configs }), shared));
}

describe("a member that follows another", () => {
  it("takes over what is the very same, and makes only what is new", () => {
    const shared = newClusterState();
    const before = join(shared, pool).endpoints[0]!;
    const after = join(shared, pool.with(7, again[7]!)).endpoints[0]!;
    expect(after.map((each, at) => each === before[at])).toEqual(pool.map((_, at) => at !== 7));
    expect(after[7]!.load).toBe(before[7]!.load);
  });

  it("takes over a locality that did not change as a whole, whatever comes and goes around it", () => {
    const shared = newClusterState();
    const same = endpoints(5);
    const enterWith = (...row: LocalityEndpoints[]) => finish(enter(cluster("c", { priorities: [row] }), shared));
    const first = enterWith(locality(same, { zone: "b" }));
    const second = enterWith(locality(pool.slice(9), { zone: "a" }), locality(same, { zone: "b" }));
    expect(second.localities[0]![1]!.endpoints).toBe(first.localities[0]![0]!.endpoints);
    const third = enterWith(locality(same, { zone: "b" }));
    expect(third.localities[0]![0]!.endpoints).toBe(first.localities[0]![0]!.endpoints);
    touch(first, second, third);
    expect(shared.endpoints.size).toBe(same.length + pool.length - 9);
    for (const each of [first, second]) leave(each, shared);
    expect(shared.endpoints.size).toBe(same.length);
  });

  it("of ten thousand endpoints of which one changes, no other is visited: neither to hold nor to release it", () => {
    const shared = newClusterState();
    const many = Array.from({ length: 10_000 }, (_, at) => endpoint(`10.1.${at >> 8}.${at & 255}:80`));
    const first = join(shared, many);
    // Nobody has counted anything yet.
    expect(shared.endpoints.size).toBe(0);
    touch(first);
    // Whoever looked at the counts of the others, or at their addresses, would meet this.
    const untouched = (at: number): void => {
      const each = first.endpoints[0]![at]!;
      for (const object of [each.load, each.config]) Object.freeze(object);
      for (const name of ["load", "known", "config"] as const)
        Object.defineProperty(each, name, {
          get: () => {
            throw new Error(`endpoint ${at} was visited`);
          },
        });
    };
    for (let at = 0; at < many.length; at++) if (at !== 5_000) untouched(at);
    const second = join(shared, many.with(5_000, endpoint("10.9.9.9:80")));
    void second.endpoints[0]![5_000]!.load;
    expect(shared.endpoints.size).toBe(10_001);
    leave(first, shared);
    expect(shared.endpoints.size).toBe(10_000);
    expect(second.endpoints[0]!.filter((each, at) => each !== first.endpoints[0]![at])).toHaveLength(1);
  });

  it("whose making is given up holds nothing, whenever that happens, and the one before is whole", () => {
    const many = Array.from({ length: 10_000 }, (_, at) => endpoint(`10.1.${at >> 8}.${at & 255}:80`));
    for (const steps of [0, 1, 5, 15]) {
      const shared = newClusterState();
      const first = join(shared, pool);
      touch(first);
      const work = enter(cluster("c", { endpoints: many }), shared);
      for (let i = 0; i < steps; i++) expect(work.next().done).toBe(false);
      work.return(first);
      expect(shared.members).toEqual([first]);
      expect(shared.endpoints.size).toBe(pool.length);
      leave(first, shared);
      expect(shared.endpoints.size).toBe(0);
    }
  });

  it("may be made while the one before leaves", () => {
    const shared = newClusterState();
    const many = Array.from({ length: 5_000 }, (_, at) => endpoint(`10.1.${at >> 8}.${at & 255}:80`));
    const first = join(shared, many);
    touch(first);
    const { load } = first.endpoints[0]![0]!;
    const work = enter(cluster("c", { endpoints: many.toSpliced(100, 1) }), shared);
    work.next();
    leave(first, shared);
    const second = finish(work);
    expect(shared.members).toEqual([second]);
    expect(shared.endpoints.size).toBe(4_999);
    expect(shared.endpoints.get("10.1.0.0:80")).toBe(load);
  });
});

it("law 6: whatever changes and in whatever order members leave, a load lives exactly as long as one of them has it", () => {
  const place = fc.record({ zone: fc.constantFrom("a", "b", "c"), members: fc.uniqueArray(fc.nat(39)) });
  const level = fc.uniqueArray(place, { selector: ({ zone }) => zone, maxLength: 3 });
  const step = fc.record({
    levels: fc.array(level, { maxLength: 2 }),
    renewed: fc.nat(39),
    drops: fc.array(fc.nat(3), { maxLength: 2 }),
  });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 12 }), (steps) => {
      const shared = newClusterState();
      const alive: Member[] = [];
      // So that a locality may be the very same list as before.
      const lists = new Map<string, readonly EndpointConfig[]>();
      const wants = (): Set<string> =>
        new Set(alive.flatMap(({ endpoints: all }) => all.flat().map(({ config }) => config.address)));
      const check = (): void => {
        touch(...alive);
        expect(shared.endpoints.size).toBe(wants().size);
        for (const { endpoints: all } of alive)
          for (const { config, load } of all.flat()) expect(load).toBe(shared.endpoints.get(config.address));
      };
      for (const { levels, renewed, drops } of steps) {
        const priorities = levels.map((row) =>
          row.map(({ zone, members }) => {
            const key = `${members.join()} ${members.includes(renewed) ? renewed : ""}`;
            const list = lists.get(key) ?? members.map((at) => (at === renewed ? again[at]! : pool[at]!));
            lists.set(key, list);
            return locality(list, { zone });
          }),
        );
        const member = finish(enter(cluster("c", { priorities }), shared));
        expect(member.localities.map((row) => row.map((each) => each.endpoints.map(({ config }) => config)))).toEqual(
          priorities.map((row) => row.map((each) => each.endpoints)),
        );
        alive.push(member);
        check();
        // The newest one among them.
        for (const drop of drops) {
          if (drop >= alive.length) continue;
          leave(alive.splice(drop, 1)[0]!, shared);
          check();
        }
      }
      for (const member of alive.splice(0)) leave(member, shared);
      expect(shared.endpoints.size).toBe(0);
      expect(shared.members).toEqual([]);
    }),
    { numRuns: 300, seed: 6 },
  );
});

it("law 6: whoever looks at an endpoint sees what is counted at its address, whichever member that is done in, and only that is held", () => {
  const member = fc.record({
    addresses: fc.uniqueArray(fc.nat(11), { maxLength: 8 }),
    renewed: fc.uniqueArray(fc.nat(11)),
  });
  const step = fc.record({
    member: fc.option(member, { nil: undefined }),
    counts: fc.array(fc.tuple(fc.nat(3), fc.nat(7)), { maxLength: 4 }),
    drop: fc.option(fc.nat(3), { nil: undefined }),
  });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 16 }), (steps) => {
      const shared = newClusterState();
      const alive: Member[] = [];
      // What was counted at each address since somebody has it without a break.
      const counted = new Map<string, number>();
      const forget = (): void => {
        const had = new Set(alive.flatMap(({ endpoints: all }) => all.flat().map(({ config }) => config.address)));
        for (const address of counted.keys()) if (!had.has(address)) counted.delete(address);
      };
      for (const { member: next, counts, drop } of steps) {
        if (next !== undefined)
          alive.push(
            join(
              shared,
              next.addresses.map((at) => (next.renewed.includes(at) ? { ...pool[at]! } : pool[at]!)),
            ),
          );
        for (const [which, at] of counts) {
          const endpoint = alive[which]?.endpoints[0]?.[at];
          if (endpoint === undefined) continue;
          endpoint.load.active++;
          const { address } = endpoint.config;
          counted.set(address, (counted.get(address) ?? 0) + 1);
        }
        if (drop !== undefined && drop < alive.length) leave(alive.splice(drop, 1)[0]!, shared);
        forget();
        for (const { endpoints: all } of alive)
          for (const { config, known } of all.flat()) expect(known.active).toBe(counted.get(config.address) ?? 0);
      }
      for (const each of alive.splice(0)) leave(each, shared);
      expect(shared.endpoints.size).toBe(0);
      for (const each of [idleLoad, goneLoad]) expect(each).toEqual(newEndpointLoad());
    }),
    { numRuns: 500, seed: 9 },
  );
});

it("an endpoint of a snapshot that has ended can still be called, and nothing is held for it", () => {
  for (const others of [[], pool.slice(0, 2), [endpoint("10.9.9.9:80")]]) {
    const shared = newClusterState();
    const first = join(shared, pool.slice(0, 4));
    const members = others.length === 0 ? [] : [join(shared, others)];
    leave(first, shared);
    for (const each of first.endpoints[0]!.slice(2)) {
      each.load.active++;
      expect(each.load.active).toBe(1);
    }
    expect(shared.endpoints.size).toBe(0);
    for (const each of members) leave(each, shared);
  }
});
