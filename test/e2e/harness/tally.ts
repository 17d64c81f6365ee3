import { expect } from "vitest";
import type { Tally } from "../programs/load.ts";

/** Every request that was sent came back with 200; what did not is in the message, with its time and reason. */
export function expectAllGood(tally: Tally): void {
  const { sent, failed, statuses } = tally;
  expect({ failed, statuses }, tally.reasons.join("\n")).toEqual({ failed: 0, statuses: { 200: sent } });
}
