import type { Call } from "../call.ts";
import type { RedirectAction } from "../config-mutation.ts";
import type { RouteConfig } from "../config.ts";
import type { Env } from "../env.ts";
import { answerLocally } from "../policy/local-reply.ts";
import type { Service } from "../service.ts";
import type { FieldEditor } from "./header-operations.ts";
import { compilePathRewrite } from "./rewrite.ts";

/** Answers with a `location`, as Envoy builds it: from the rewritten path, then scheme, host and port. */
export function redirectService(
  { match }: RouteConfig,
  action: RedirectAction,
  edit: FieldEditor | undefined,
  env: Pick<Env, "regex">,
): Service {
  const target = compileTarget(action, match, env);
  const { status, scheme, authority, port } = action;
  const suffix = port === undefined ? "" : `:${port}`;
  return (call, sink) => {
    const host = authority ?? hostOf(call, scheme ?? call.scheme, port !== undefined);
    const location = `${scheme ?? call.scheme}://${host}${suffix}${target(call.path)}`;
    answerLocally(call, sink, { status, headers: ["location", location], flag: "-" }, edit);
  };
}

function compileTarget(
  { path, stripQuery }: RedirectAction,
  match: RouteConfig["match"],
  env: Pick<Env, "regex">,
): (target: string) => string {
  const query = (target: string): string => {
    const at = target.indexOf("?");
    return at < 0 ? "" : target.slice(at);
  };
  if (path?.kind === "whole") {
    const { value } = path;
    // A query of its own is meant as it is, and stays.
    if (value.includes("?")) return () => value;
    return stripQuery ? () => value : (target) => value + query(target);
  }
  const rewrite = path === undefined ? undefined : compilePathRewrite(path, match.path, env);
  return (target) => {
    const made = rewrite === undefined ? target : rewrite(target);
    return stripQuery ? made.slice(0, made.length - query(made).length) : made;
  };
}

/** The caller's host: without its port when another comes, or when that was the default of a scheme that is left. */
function hostOf({ authority, scheme }: Call, next: string, replaced: boolean): string {
  const colon = authority.startsWith("[") ? authority.lastIndexOf("]:") + 1 : authority.lastIndexOf(":");
  if (colon <= 0) return authority;
  const port = authority.slice(colon);
  const left = next !== scheme && port === (scheme === "https" ? ":443" : ":80");
  return replaced || left ? authority.slice(0, colon) : authority;
}
