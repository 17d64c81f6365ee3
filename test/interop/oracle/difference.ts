import { writeFileSync } from "node:fs";
import { join } from "node:path";

import type { Context, Outcome } from "../peer.ts";

/** One request on which Envoy and we do not agree, with all that is needed to look into it. */
export interface Difference {
  /** Seed of the case, and which one it is: `--seed` and `--requests` of the run bring it back. */
  readonly at: string;
  readonly config: unknown;
  readonly request: unknown;
  readonly ours: unknown;
  readonly envoys: unknown;
}

/** Says the first few on stderr, writes all of them into the scratch folder, and makes the outcome of the row. */
export function concluded(
  context: Context,
  what: string,
  compared: number,
  differences: readonly Difference[],
): Outcome {
  const figures = { compared, differences: differences.length };
  if (differences.length === 0)
    return { result: "pass", detail: `${compared} ${what} alike, seed ${context.seed}`, figures };
  const file = join(context.scratch, "differences.json");
  const text = (value: unknown): string =>
    JSON.stringify(value, (_key, each: unknown) => (typeof each === "bigint" ? Number(each) : each));
  writeFileSync(file, `[\n${differences.map(text).join(",\n")}\n]\n`);
  for (const { at, request, ours, envoys } of differences.slice(0, 3)) {
    context.progress(`${at}: ${text(request)}\n    ours:    ${text(ours)}\n    envoy's: ${text(envoys)}`);
  }
  const detail = `${differences.length} of ${compared} ${what} differ, seed ${context.seed}; see ${file}`;
  return { result: "fail", detail, figures };
}
