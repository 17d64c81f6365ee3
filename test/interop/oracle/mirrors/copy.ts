import type { Seen } from "../echo.ts";
import { headerLines } from "../routes/verdict.ts";

/** Envoy sends copies as a client of its own, and says so, whatever its connection manager says of the requests themselves. */
const hopOnly = /^(?:x-envoy-internal|x-forwarded-for|x-forwarded-proto|content-length): /;

/** A copy in one line: where it went, and all that its receiver sees. */
export function copyLine(cluster: string, { method, target, host, headers }: Seen): string {
  return [cluster, method, target, host, ...headerLines(headers).filter((line) => !hopOnly.test(line))].join(" | ");
}
