import { expect, test } from "vitest";

import { claimProcess } from "./election.ts";
import { TramaError } from "./errors.ts";
import { checkRuntime } from "./runtime.ts";

test("below the floor an error, below the safe releases a warning, else nothing", () => {
  const warned: string[] = [];
  const log = { debug() {}, info() {}, warn: (message: string) => void warned.push(message), error() {} };
  for (const version of ["20.20.2", "22.18.9"]) expect(() => checkRuntime(log, version)).toThrow(TramaError);
  for (const version of ["22.19.0", "24.16.9", "26.3.0"]) checkRuntime(log, version);
  expect(warned).toHaveLength(3);
  for (const version of ["22.23.3", "24.21.0", "25.1.0", "26.3.1", "28.0.0"]) checkRuntime(log, version);
  expect(warned).toHaveLength(3);
});

test("one membership for each process, whichever copy of the library has it", () => {
  const release = claimProcess();
  expect(() => claimProcess()).toThrow(/joined the mesh already/);
  release();
  const slot = Symbol.for("trama.mesh");
  const holder = globalThis as { [slot]?: object };
  holder[slot] = { version: "9.9.9", url: "file:///elsewhere/trama/index.js" };
  try {
    expect(() => claimProcess()).toThrow(/9\.9\.9 at file:\/\/\/elsewhere.*election\.ts/);
  } finally {
    delete holder[slot];
  }
  release();
  claimProcess()();
});
