import { describe, expect, it } from "vitest";
import { RefTable } from "./state.ts";

describe("RefTable", () => {
  it("keeps a value as long as somebody uses it, and forgets it then", () => {
    const table = new RefTable<{ n: number }>();
    const first = table.use("a", () => ({ n: 1 }));
    expect(table.use("a", () => ({ n: 2 }))).toBe(first);
    table.release("a");
    expect(table.get("a")).toBe(first);
    table.release("a");
    expect(table.size).toBe(0);
    expect(table.use("a", () => ({ n: 3 })).n).toBe(3);
  });

  it("a release too many changes nothing", () => {
    const table = new RefTable<number>();
    table.release("a");
    table.use("a", () => 1);
    table.release("b");
    expect(table.size).toBe(1);
  });
});
