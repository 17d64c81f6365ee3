import { parseArgs } from "node:util";

export interface Options {
  readonly json: boolean;
  readonly seed: number;
  readonly requests: number;
  /** Only rows whose `peer capability` holds this text. */
  readonly only: string;
  /** A skipped row is a failure. */
  readonly strict: boolean;
}

export const usage = `usage: npm run interop -- [--json] [--seed <n>|random] [--requests <n>] [--only <text>] [--strict]

  --json      one JSON object on stdout instead of the table
  --seed      of the differential tests (default 1); "random" draws one and prints it
  --requests  how many requests the differential tests compare, together (default 24000)
  --only      only rows whose peer and capability hold this text: --only "envoy oracle"
  --strict    a row that is skipped counts as failed
`;

/** Throws with a message for people. */
export function readOptions(args: readonly string[]): Options {
  const { values } = parseArgs({
    args: [...args],
    options: {
      json: { type: "boolean", default: false },
      seed: { type: "string", default: "1" },
      requests: { type: "string", default: "24000" },
      only: { type: "string", default: "" },
      strict: { type: "boolean", default: false },
    },
  });
  const seed =
    values.seed === "random" ? Math.floor(Math.random() * 2 ** 31) : natural("seed", values.seed, 2 ** 32 - 1);
  return { ...values, seed, requests: Math.max(1, natural("requests", values.requests, 10_000_000)) };
}

function natural(name: string, text: string, most: number): number {
  if (!/^\d+$/.test(text) || Number(text) > most)
    throw new Error(`--${name} ${text} is not a number from 0 to ${most}`);
  return Number(text);
}
