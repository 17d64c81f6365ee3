import type { Call } from "../call.ts";
import type { AuthorityRewrite, PathRewrite } from "../config-mutation.ts";
import type { ForwardAction, PathMatch, RouteConfig } from "../config.ts";
import type { Env } from "../env.ts";
import { MeshError } from "../errors.ts";
import { pathOf } from "../match/path.ts";
import type { Layer } from "../service.ts";

/** Rewrites path and authority, once a call: retries send the same. `undefined`: nothing is rewritten. */
export function rewriteLayer(
  { name, match }: RouteConfig,
  { rewrite }: ForwardAction,
  env: Pick<Env, "regex">,
): Layer | undefined {
  const path = rewrite?.path === undefined ? undefined : compilePathRewrite(rewrite.path, match.path, env);
  const own = rewrite?.authority;
  const forwardHost = rewrite?.forwardHost === true;
  if (path === undefined && own === undefined) return undefined;
  return (inner) => (call, sink) => {
    const authority = own === undefined ? undefined : authorityOf(own, call);
    if (authority !== undefined) {
      if (forwardHost) tellHost(call);
      setAuthority(call, authority);
    }
    if (path !== undefined) {
      const target = path(call.path);
      if (target.charCodeAt(0) !== SLASH)
        return sink.onError(
          new MeshError("BAD_REQUEST", `the rewrite of route "${name}" makes a path that does not begin with /`),
        );
      call.path = target;
    }
    inner(call, sink);
  };
}

const SLASH = 0x2f;

/** The request target with its path rewritten. The query is not part of what is rewritten. */
export function compilePathRewrite(
  rewrite: PathRewrite,
  match: PathMatch,
  env: Pick<Env, "regex">,
): (target: string) => string {
  if (rewrite.kind === "regex") {
    const pattern = env.regex(rewrite.pattern);
    const { substitution } = rewrite;
    return (target) => {
      const path = pathOf(target);
      return pattern.replace(path, substitution) + target.slice(path.length);
    };
  }
  const { value } = rewrite;
  const matched = matchedLength(match);
  return (target) => value + target.slice(matched ?? pathOf(target).length);
}

/** How much of a path the match compared, where that is the same for all paths; else it is all of it. */
function matchedLength(match: PathMatch): number | undefined {
  switch (match.kind) {
    case "prefix":
      return match.value.length;
    case "segments":
      return match.value.endsWith("/") ? match.value.length - 1 : match.value.length;
    default:
      return undefined;
  }
}

function authorityOf(rewrite: AuthorityRewrite, call: Call): string | undefined {
  return rewrite.kind === "literal" ? rewrite.value : call.headers.get(rewrite.name) || undefined;
}

/** The host as the caller named it, behind those that were there before. */
function tellHost({ headers, authority }: Call): void {
  if (authority === "") return;
  const before = headers.joined("x-forwarded-host");
  headers.set("x-forwarded-host", before === undefined ? authority : `${before},${authority}`);
}

export function setAuthority(call: Call, authority: string): void {
  call.authority = authority;
  // The application may have written a Host of its own beside the URL; it is rewritten like any other.
  if (call.headers.has("host")) call.headers.set("host", authority);
}
