// What a route does to a call on its way, as plain data. Part of MeshConfig (`config.ts`).
import type { StringMatch } from "./config-match.ts";

/** Changes to the fields of a request before it is sent, and of its answer before the caller sees it. */
export interface HeaderOperations {
  readonly request: FieldOperations | undefined;
  readonly response: FieldOperations | undefined;
}

/**
 * Envoy's `*_headers_to_remove` and `*_headers_to_add` of one level. Fields are removed first; then all values are made out of
 * what is there, those that overwrite are written, and at last those that are added.
 */
export interface FieldOperations {
  /** Lower case. */
  readonly remove: readonly string[];
  readonly write: readonly FieldWrite[];
}

export interface FieldWrite {
  /** Lower case; never a pseudo field nor `host`. */
  readonly name: string;
  /** With `%OPERATORS%` (`route/format.ts`); `%%` is a percent sign. */
  readonly value: string;
  readonly action: "append" | "add_if_absent" | "overwrite" | "overwrite_if_present";
  /** Written even if the value is empty (`keep_empty_value`). Default: it is left out then. */
  readonly keepEmpty: boolean;
}

/** What a forwarded request says in place of what the caller wrote. */
export interface Rewrite {
  readonly path: PathRewrite | undefined;
  readonly authority: AuthorityRewrite | undefined;
  /** The caller's authority goes behind what `x-forwarded-host` holds (`append_x_forwarded_host`). */
  readonly forwardHost: boolean;
}

/** The query stays as it is. */
export type PathRewrite =
  /** In place of what the route's match compared: the prefix; after an exact or regex match the whole path (`prefix_rewrite`). */
  | { readonly kind: "matched"; readonly value: string }
  /** Every place where the pattern is found; RE2, groups as `\1` (`regex_rewrite`). */
  | { readonly kind: "regex"; readonly pattern: string; readonly substitution: string };

export type AuthorityRewrite =
  | { readonly kind: "literal"; readonly value: string }
  /** The value of that field, where there is one (`host_rewrite_header`). Lower case. */
  | { readonly kind: "header"; readonly name: string };

/** An answer that sends the caller elsewhere. What is `undefined` stays as the caller wrote it. */
export interface RedirectAction {
  readonly kind: "redirect";
  readonly status: 301 | 302 | 303 | 307 | 308;
  readonly scheme: string | undefined;
  /** Replaces the host with its port. */
  readonly authority: string | undefined;
  readonly port: number | undefined;
  readonly path:
    | PathRewrite
    /** The whole path; with a query of its own, or else the caller's. */
    | { readonly kind: "whole"; readonly value: string }
    | undefined;
  /** The caller's query is left out. */
  readonly stripQuery: boolean;
}

/** A copy of each call, or of a share of them, whose answer nobody reads. */
export interface MirrorPolicy {
  readonly cluster: string;
  /** Share of the calls, rolled per call and policy; 1,000,000 = all. */
  readonly perMillion: number;
  /** The copy names the same host (`disable_shadow_host_suffix_append`). Default: its host ends in `-shadow`. */
  readonly keepHost: boolean;
}

export interface CorsConfig {
  readonly kind: "cors";
  /** `undefined`: nothing is said here; what it does comes with a route. */
  readonly policy: CorsPolicy | undefined;
}

/** Envoy's CorsPolicy. Lists are as they go out, joined by commas; empty text leaves the field out. */
export interface CorsPolicy {
  readonly origins: readonly StringMatch[];
  /** `*`: the method that was asked for. */
  readonly allowMethods: string;
  /** `*`: the fields that were asked for. */
  readonly allowHeaders: string;
  readonly exposeHeaders: string;
  /** Whole seconds, as text. */
  readonly maxAge: string;
  readonly allowCredentials: boolean;
  /** A preflight of an origin that is not allowed goes on to the application; else it is answered here, without an origin. Default: true. */
  readonly forwardUnmatched: boolean;
  readonly allowPrivateNetwork: boolean;
}
