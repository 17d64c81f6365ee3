import type { Call, Env } from "@trama/engine";
import { fakeClock } from "./clock.ts";
import type { FakeClock } from "./clock.ts";
import { seededRandom } from "./random.ts";

/** An Env of which everything is known: virtual time, seeded chance, and lists of what was told and logged. */
export interface TestEnv extends Env {
  readonly clock: FakeClock;
  /** Calls that telemetry was told of, in the order in which they ended. */
  readonly ended: Call[];
  readonly logged: { readonly level: string; readonly message: string; readonly fields: object | undefined }[];
}

export function testEnv(overrides: Partial<Omit<Env, "clock">> & { seed?: number; clock?: FakeClock } = {}): TestEnv {
  const ended: Call[] = [];
  const logged: TestEnv["logged"] = [];
  const log = (level: string) => (message: string, fields?: object) => void logged.push({ level, message, fields });
  return {
    clock: overrides.clock ?? fakeClock(),
    random: overrides.random ?? seededRandom(overrides.seed ?? 1),
    telemetry: overrides.telemetry ?? { onCall: (call) => void ended.push(call) },
    log: overrides.log ?? { debug: log("debug"), info: log("info"), warn: log("warn"), error: log("error") },
    regex: overrides.regex ?? backtracking,
    prober: overrides.prober,
    ended,
    logged,
  };
}

/** The language's own expressions: near enough to RE2 for the patterns of unit tests, which are not hostile. */
function backtracking(pattern: string): ReturnType<Env["regex"]> {
  const whole = new RegExp(`^(?:${pattern})$`, "us");
  const every = new RegExp(pattern, "gus");
  return {
    matches: (text) => whole.test(text),
    replace: (text, substitution) =>
      text.replace(every, substitution.replace(/\$/g, "$$$$").replace(/\\(\d)/g, "$$$1")),
  };
}
