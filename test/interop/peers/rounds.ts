import type { Context } from "../peer.ts";
import type { RunningProcess } from "../process.ts";
import { until } from "./plane.ts";

/** What one round of a client's calls came to: a line of JSON on its stdout. */
export interface Round {
  /** How often each answer came: `<version> <who called>`. */
  readonly say: Readonly<Record<string, number>>;
  readonly errors: Readonly<Record<string, number>>;
  /** What the method that nobody may call answered. */
  readonly secret: string;
}

export const caller = "spiffe://cluster.local/ns/demo/sa/caller";
export const denied = /^PERMISSION_?DENIED/i;

/** Waits for a round that is as it should be; an error tells what the last one was. */
export async function roundOf(
  context: Context,
  client: RunningProcess,
  what: string,
  wanted: (round: Round) => boolean,
): Promise<Round> {
  let last: Round | undefined;
  const ended = client.ended.then((why): never => {
    throw new Error(`the client ended (${why}): ${client.output().slice(-1_000)}`);
  });
  const found = until(context, what, () => {
    last = rounds(client.output()).at(-1);
    return last !== undefined && wanted(last) ? last : undefined;
  });
  ended.catch(() => {});
  found.catch(() => {});
  try {
    return await Promise.race([found, ended]);
  } catch (error) {
    const seen = last === undefined ? client.output().slice(-1_000) : JSON.stringify(last);
    throw new Error(`${(error as Error).message}; last: ${seen}`, { cause: error });
  }
}

function rounds(output: string): Round[] {
  return output.split("\n").flatMap((line) => {
    if (!line.startsWith("{") || !line.endsWith("}")) return [];
    try {
      const parsed = JSON.parse(line) as Partial<Round>;
      return parsed.say === undefined ? [] : [parsed as Round];
    } catch {
      // The first line kept may be half of one.
      return [];
    }
  });
}

/** Calls that a version answered to this caller. */
export function answered({ say }: Round, version: string): number {
  return say[`${version} ${caller}`] ?? 0;
}

/** Nothing but answers of the two versions, v1's share within four standard deviations of its weight. */
export function isShared(round: Round, calls: number, weight: number): boolean {
  const v1 = answered(round, "v1");
  const p = weight / 100;
  const slack = 4 * Math.sqrt(calls * p * (1 - p));
  return (
    Object.keys(round.errors).length === 0 &&
    v1 + answered(round, "v2") === calls &&
    Math.abs(v1 - calls * p) <= slack &&
    denied.test(round.secret)
  );
}
