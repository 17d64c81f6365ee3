import { emptyConfig, type MeshConfig } from "@trama/engine";
import { expect, it } from "vitest";

import { Publisher } from "./publisher.ts";

/** A configuration that needs so many slices of a millisecond. */
interface Work extends MeshConfig {
  readonly slices: number;
}

function world() {
  const published: Work[] = [];
  const turns: (() => void)[] = [];
  let nowMs = 0;
  let told = 0;
  const publisher = new Publisher({
    engine: {
      *publishing(config) {
        const work = config as Work;
        for (let i = 0; i < work.slices; i++) {
          nowMs++;
          yield undefined;
        }
        if (work.slices < 0) throw new Error("it cannot be compiled");
        published.push(work);
      },
    },
    clock: { now: () => nowMs },
    nextTurn: () => new Promise((resolve) => void turns.push(resolve)),
    onPublished: () => void told++,
  });
  return {
    published,
    publisher,
    told: () => told,
    /** Lets the event loop take turns until nobody wants one. */
    run: async (): Promise<void> => {
      for (let quiet = 0; quiet < 3; quiet++) {
        await new Promise((resolve) => setImmediate(resolve));
        for (const turn of turns.splice(0)) {
          turn();
          quiet = -1;
        }
      }
    },
  };
}

const config = (slices: number): Work => ({ ...emptyConfig, slices });

it("little work is in force at once, and there is no promise", () => {
  const { publisher, published, told } = world();
  const small = config(0);
  expect(publisher.publish(small)).toBeUndefined();
  expect(published).toEqual([small]);
  expect(told()).toBe(1);
  expect(() => publisher.publish(config(-1))).toThrow("cannot be compiled");
});

it("much work takes turns; of those that come meanwhile the newest follows, and all are told when it is in force", async () => {
  const { publisher, published, told, run } = world();
  const settled: string[] = [];
  const [large, skipped, last] = [config(9), config(0), config(4)];
  const wait = (name: string, done: void | Promise<void>): void => void done?.then(() => settled.push(name));
  wait("large", publisher.publish(large));
  expect(published).toEqual([]);
  wait("skipped", publisher.publish(skipped));
  wait("last", publisher.publish(last));
  expect(settled).toEqual([]);
  await run();
  expect(published).toEqual([large, last]);
  expect(settled).toEqual(["large", "skipped", "last"]);
  expect(told()).toBe(2);
  // Nothing is left over.
  expect(publisher.publish(skipped)).toBeUndefined();
});

it("one that cannot be compiled is told to its publisher, and hinders no other", async () => {
  const { publisher, published, run } = world();
  const large = publisher.publish(config(3));
  const bad = Promise.resolve(publisher.publish(config(-1)));
  const outcome = expect(bad).rejects.toThrow("cannot be compiled");
  await run();
  await large;
  await outcome;
  const next = config(0);
  expect(publisher.publish(next)).toBeUndefined();
  expect(published).toHaveLength(2);
});
