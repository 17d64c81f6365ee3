import type { PathMatch } from "../config.ts";
import type { Env } from "../env.ts";
import { asciiLower, hasAsciiLower } from "./ascii.ts";
import { compileString } from "./string.ts";
import type { TextTest } from "./regex.ts";

/** The path of a request target, without its query. The very same text when there is none. */
export function pathOf(target: string): string {
  const query = target.indexOf("?");
  return query < 0 ? target : target.slice(0, query);
}

/**
 * Compiles the path part of a route (R30). The test is given the path without query ({@link pathOf}), so that the
 * router cuts it once for all of its routes.
 */
export function compilePath(match: PathMatch, regex: Env["regex"]): TextTest {
  return match.kind === "segments" ? segments(match.value, match.ignoreCase) : compileString(match, regex);
}

/** `/a` takes `/a`, `/a/` and `/a/b` but not `/ab`: what Gateway API calls PathPrefix. */
function segments(value: string, ignoreCase: boolean): TextTest {
  const prefix = value.endsWith("/") ? value.slice(0, -1) : value;
  const length = prefix.length;
  if (!ignoreCase || !/[a-zA-Z]/.test(prefix))
    return (path) => path.startsWith(prefix) && (path.length === length || path.charCodeAt(length) === SLASH);
  const lower = asciiLower(prefix);
  return (path) => (path.length === length || path.charCodeAt(length) === SLASH) && hasAsciiLower(path, lower, 0);
}

const SLASH = 0x2f;
