import { expect, test, vi } from "vitest";

import { testEnv } from "../../../test/kit/env.ts";
import { LastGood, type LastGoodOptions, type LastGoodStore } from "./last-good.ts";
import { type KeptResource, encodeKept } from "./last-good-format.ts";

const L = "type.googleapis.com/test.Listener";
const self = "spiffe://cluster.local/ns/shop/sa/reviews";
const server = "istiod:15012";
const hour = 3_600_000;

/** A store in memory that can be slow or full. */
function memory(bytes?: Uint8Array) {
  const store = {
    bytes,
    saves: 0,
    fails: undefined as Error | undefined,
    gate: Promise.resolve(),
    load: () => Promise.resolve(store.bytes),
    async save(value: Uint8Array) {
      store.saves += 1;
      await store.gate;
      if (store.fails !== undefined) throw store.fails;
      store.bytes = value;
    },
  };
  return store satisfies LastGoodStore;
}

function setUp(store: LastGoodStore, options: Partial<LastGoodOptions> & { server?: string } = {}, env = testEnv()) {
  const state = { held: [] as KeptResource[], confirmed: true };
  const lastGood = new LastGood({
    store,
    identity: () => self,
    clock: env.clock,
    log: env.log,
    server,
    held: () => state.held,
    confirmed: () => state.confirmed,
    ...options,
  });
  const warnings = (): string[] => env.logged.filter((one) => one.level === "warn").map((one) => one.message);
  return { lastGood, env, state, warnings };
}

const resource = (name: string, knownMs: number, more: Partial<KeptResource> = {}): KeptResource => ({
  typeUrl: L,
  name,
  version: "v1",
  bytes: Buffer.from(`bytes of ${name}`),
  knownMs,
  ...more,
});

/** Checksums are made by another thread: waits until so many writes were begun, and so many timers are set. */
const written = (store: { saves: number }, env: ReturnType<typeof testEnv>, saves: number, timers = 1): Promise<void> =>
  vi.waitFor(() => expect([store.saves, env.clock.pending]).toEqual([saves, timers]), { interval: 1 });

test("what one process held the next one finds: type, name, version and bytes", async () => {
  const store = memory();
  const first = setUp(store);
  first.state.held = [resource("a", first.env.clock.wall()), resource("b", first.env.clock.wall(), { version: "" })];
  first.lastGood.changed();
  await first.lastGood.close();
  const second = setUp(store);
  await expect(second.lastGood.restore()).resolves.toBe(true);
  expect(second.lastGood.get(L, "a")).toMatchObject({ typeUrl: L, name: "a", version: "v1" });
  expect(Buffer.from(second.lastGood.get(L, "b")!.bytes).toString()).toBe("bytes of b");
  expect(second.lastGood.get(L, "c")).toBeUndefined();
  second.lastGood.forget(L, "a");
  expect(second.lastGood.get(L, "a")).toBeUndefined();
  expect([...first.warnings(), ...second.warnings()]).toEqual([]);
});

test("nothing kept is no warning", async () => {
  const { lastGood, warnings } = setUp(memory());
  await expect(lastGood.restore()).resolves.toBe(false);
  expect(warnings()).toEqual([]);
});

test.each<
  [
    string,
    (good: Uint8Array) => Uint8Array | Promise<Uint8Array>,
    Partial<LastGoodOptions> & { server?: string },
    string,
  ]
>([
  ["a flipped bit", (good) => good.with(good.length - 1, good.at(-1)! ^ 1), {}, "damaged"],
  ["a torn write", (good) => good.subarray(0, good.length - 4), {}, "damaged"],
  ["an empty file", () => new Uint8Array(), {}, "not ours"],
  ["somebody else's file", () => Buffer.from("{}"), {}, "not ours"],
  [
    "another release's form",
    (good) => Buffer.from(Buffer.from(good).toString("latin1").replace(/ 1 /, " 9 "), "latin1"),
    {},
    "another release",
  ],
  ["a foreign identity", (good) => good, { identity: () => "spiffe://cluster.local/ns/bank/sa/teller" }, "issued to"],
  ["an unknown identity", (good) => good, { identity: () => undefined }, "not known yet"],
  ["a foreign server", (good) => good, { server: "elsewhere:15012" }, "from istiod:15012"],
  ["an expired one", (good) => good, { maxAgeMs: -1 }, "too old"],
])("%s is passed over with a warning", async (_what, bend, options, reason) => {
  const env = testEnv();
  const good = await encodeKept({ identity: self, server, resources: [resource("a", env.clock.wall())] });
  const { lastGood, warnings } = setUp(memory(await bend(good)), options, env);
  await expect(lastGood.restore()).resolves.toBe(false);
  expect(lastGood.get(L, "a")).toBeUndefined();
  expect(warnings()).toEqual([expect.stringContaining(reason)]);
});

test("a store that fails to load is passed over", async () => {
  const store: LastGoodStore = { load: () => Promise.reject(new Error("EIO")), save: () => Promise.resolve() };
  const { lastGood, warnings } = setUp(store);
  await expect(lastGood.restore()).resolves.toBe(false);
  expect(warnings()).toEqual(["the kept configuration is not used: EIO"]);
});

test("each resource has its own age, and grows old in memory too; one from the future is not believed", async () => {
  const env = testEnv();
  const now = env.clock.wall();
  const resources = [
    resource("fresh", now - hour),
    resource("old", now - 25 * hour),
    resource("future", now + hour),
    resource("skewed", now + 60_000),
  ];
  const store = memory(await encodeKept({ identity: self, server, resources }));
  const { lastGood } = setUp(store, {}, env);
  await lastGood.restore();
  const found = (): string[] => resources.map((one) => one.name).filter((name) => lastGood.get(L, name));
  expect(found()).toEqual(["fresh", "skewed"]);
  env.clock.advance(23.5 * hour);
  expect(found()).toEqual(["skewed"]);
});

test("changes are written together, after a while, one write at a time", async () => {
  const store = memory();
  const { lastGood, env, state } = setUp(store);
  state.held = [resource("a", 0)];
  for (let i = 0; i < 100; i++) lastGood.changed();
  env.clock.advance(4_999);
  expect(store.saves).toBe(0);
  let open = (): void => {};
  store.gate = new Promise((resolve) => (open = resolve));
  env.clock.advance(1);
  await written(store, env, 1, 0);
  lastGood.changed();
  env.clock.advance(5_000);
  expect(store.saves).toBe(1); // the disk is slow
  open();
  await written(store, env, 2);
  await lastGood.close();
  expect(env.clock.pending).toBe(0);
});

test("what stays as it is is written again, so that its age is known; not while the control plane is away", async () => {
  const store = memory();
  const { lastGood, env, state } = setUp(store);
  lastGood.changed();
  env.clock.advance(5_000);
  await written(store, env, 1);
  env.clock.advance(2 * hour);
  await written(store, env, 2);
  state.confirmed = false;
  env.clock.advance(12 * hour);
  expect([store.saves, env.clock.pending]).toEqual([2, 1]);
  state.confirmed = true;
  env.clock.advance(2 * hour);
  await written(store, env, 3);
});

test("what an earlier process held stays kept for as long as nobody asks and it is not too old", async () => {
  const env = testEnv();
  const now = env.clock.wall();
  const before = [resource("a", now - hour), resource("rare", now - 2 * hour)];
  const store = memory(await encodeKept({ identity: self, server, resources: before }));
  const second = setUp(store, {}, env);
  await second.lastGood.restore();
  second.state.held = [resource("a", now, { version: "v2" })];
  second.lastGood.changed();
  await second.lastGood.close();
  const third = setUp(store, {}, env);
  await third.lastGood.restore();
  expect(third.lastGood.get(L, "a")).toMatchObject({ version: "v2", knownMs: now });
  expect(third.lastGood.get(L, "rare")).toMatchObject({ version: "v1", knownMs: now - 2 * hour });
});

test("a full disk is told once, and again after it was mended; the size is bounded", async () => {
  const store = memory();
  const { lastGood, env, state, warnings } = setUp(store, { maxBytes: 100 });
  const save = async (): Promise<void> => {
    lastGood.changed();
    env.clock.advance(5_000);
    // Then the next one is planned, whatever became of this one.
    await vi.waitFor(() => expect(env.clock.pending).toBe(1), { interval: 1 });
  };
  store.fails = new Error("ENOSPC: no space left on device");
  await save();
  await save();
  expect(warnings()).toEqual([expect.stringContaining("ENOSPC")]);
  store.fails = undefined;
  await save();
  state.held = [resource("a", 0, { bytes: new Uint8Array(101) })];
  await save();
  await save();
  expect(warnings()).toHaveLength(2);
  expect(warnings()[1]).toContain("it has 101 bytes, and maxBytes is 100");
});

test("closing does not wait for ever for a disk that hangs", async () => {
  const store = memory();
  const { lastGood, env } = setUp(store);
  store.gate = new Promise(() => {});
  lastGood.changed();
  const closed = lastGood.close();
  env.clock.advance(2_000);
  await closed;
  expect(env.clock.pending).toBe(0);
});
