import type { Ending } from "./adapter.ts";

export const statusOf: Readonly<Record<Ending, number>> = {
  ok: 200,
  denied: 403,
  unavailable: 503,
  deadline: 504,
  exhausted: 429,
  other: 500,
};

export function endingOf(status: number): Ending {
  return (Object.keys(statusOf) as Ending[]).find((ending) => statusOf[ending] === status) ?? "other";
}
