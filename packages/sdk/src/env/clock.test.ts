import { AsyncLocalStorage } from "node:async_hooks";
import { once } from "node:events";
import net, { type AddressInfo } from "node:net";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";

import { seededRandom } from "../../../../test/kit/random.ts";
import { createClock } from "./clock.ts";

let clock: ReturnType<typeof createClock>;
beforeEach(() => {
  vi.useFakeTimers({ toFake: ["setInterval", "clearInterval", "performance", "Date"] });
  clock = createClock();
});
afterEach(() => {
  clock.close();
  vi.useRealTimers();
});

test("a timer fires once, never early, and at most two ticks late", () => {
  const startMs = clock.now();
  const fired: number[] = [];
  for (const delayMs of [0, 1, 9, 10, 11, 99, 5_119, 5_120, 5_121, 60_000])
    clock.after(delayMs, () => fired.push(clock.now() - startMs - delayMs));
  vi.advanceTimersByTime(61_000);
  expect(fired).toHaveLength(10);
  for (const late of fired) {
    expect(late).toBeGreaterThanOrEqual(0);
    expect(late).toBeLessThanOrEqual(20);
  }
});

test("a cancelled timer does not fire, not even when one that fires in the same tick cancels it", () => {
  const fired: string[] = [];
  const later = clock.after(20, () => fired.push("cancelled by its neighbour"));
  clock.after(10, () => {
    fired.push("first");
    later.cancel();
  });
  const neighbours = [1, 2, 3].map((n) => clock.after(50, () => fired.push(`neighbour ${n}`)));
  clock.after(50, () => {
    for (const neighbour of neighbours) neighbour.cancel();
  });
  clock.after(5, () => {}).cancel();
  vi.advanceTimersByTime(1_000);
  expect(fired).toEqual(["first", "neighbour 1", "neighbour 2", "neighbour 3"]);
  later.cancel();
});

test("Node's timer runs only while something waits", () => {
  expect(vi.getTimerCount()).toBe(0);
  const timer = clock.after(100, () => {});
  expect(vi.getTimerCount()).toBe(1);
  timer.cancel();
  vi.advanceTimersByTime(20);
  expect(vi.getTimerCount()).toBe(0);
  let fired = false;
  clock.after(10, () => (fired = true));
  vi.advanceTimersByTime(40);
  expect(fired).toBe(true);
  expect(vi.getTimerCount()).toBe(0);
});

test("what a timer starts is kept, and a timer may start itself again", () => {
  let rounds = 0;
  const again = (): void => {
    if (++rounds < 5) clock.after(100, again);
  };
  clock.after(100, again);
  vi.advanceTimersByTime(1_000);
  expect(rounds).toBe(5);
});

test("against a model: random delays, cancels and pauses", () => {
  const random = seededRandom(3);
  const due = new Map<number, number>();
  const timers = new Map<number, { cancel(): void }>();
  const fired: number[] = [];
  for (let id = 0; id < 2_000; id++) {
    const delayMs = Math.floor(random() ** 3 * 12_000);
    due.set(id, clock.now() + delayMs);
    timers.set(
      id,
      clock.after(delayMs, () => {
        fired.push(id);
        expect(clock.now()).toBeGreaterThanOrEqual(due.get(id)!);
        due.delete(id);
      }),
    );
    if (random() < 0.3) {
      const victim = Math.floor(random() * id);
      if (due.delete(victim)) timers.get(victim)!.cancel();
    }
    if (random() < 0.2) vi.advanceTimersByTime(random() * 300);
    let oldest = Infinity;
    for (const at of due.values()) oldest = Math.min(oldest, at);
    expect(clock.now() - oldest).toBeLessThan(25);
  }
  vi.advanceTimersByTime(13_000);
  expect(due.size).toBe(0);
  expect(new Set(fired).size).toBe(fired.length);
});

describe("when something blocks the event loop", () => {
  beforeEach(() => {
    vi.useRealTimers();
    clock.close();
    clock = createClock();
  });

  /** Computes for so long. */
  function block(ms: number): void {
    for (const end = performance.now() + ms; performance.now() < end;);
  }

  test("what arrived meanwhile is read before the timers that fell due", async () => {
    const server = net.createServer((socket) => {
      socket.on("data", () => {
        socket.end("answer");
        block(150);
      });
    });
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    const client = net.connect((server.address() as AddressInfo).port, "127.0.0.1");
    const order: string[] = [];
    const fired = new Promise<void>((resolve) => {
      client.on("connect", () => {
        client.write("request");
        clock.after(60, () => {
          order.push("time-out");
          resolve();
        });
      });
    });
    client.on("data", () => order.push("answer"));
    await fired;
    expect(order).toEqual(["answer", "time-out"]);
    client.destroy();
    await new Promise((resolve) => server.close(resolve));
  });

  test("it is known for how long, also while it lasts", async () => {
    const before = clock.stalled(clock.now());
    const done = new Promise<void>((resolve) => void clock.after(0, resolve));
    block(120);
    const during = clock.stalled(clock.now()) - before;
    expect(during).toBeGreaterThanOrEqual(105);
    await done;
    expect(clock.stalled(clock.now()) - before).toBeGreaterThanOrEqual(during);
  });
});

test("timers belong to nobody, whoever's request started the ticker", async () => {
  vi.useRealTimers();
  clock.close();
  const storage = new AsyncLocalStorage<string>();
  clock = createClock();
  const seen = new Promise((resolve) => {
    storage.run("a request", () => void clock.after(0, () => resolve(storage.getStore())));
  });
  expect(await seen).toBeUndefined();
});
