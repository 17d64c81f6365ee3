import { RE2JS } from "re2js";
import * as z from "zod";

import { authority } from "./header-changes.ts";
import { target } from "./http-answers.ts";
import { message } from "./message.ts";
import { fail, regex } from "./values.ts";

/** `rewrite`: what is sent on in place of what the caller wrote (istio-api §2.5). */
export interface RewriteSpec {
  /** In place of the prefix that the match compared; of the whole path after an exact or regex match, or without one of `/`. */
  readonly uri?: string | undefined;
  readonly authority?: string | undefined;
  /** RE2, every place in the path; groups as `\1`. */
  readonly uriRegexRewrite?: { readonly match: string; readonly rewrite: string } | undefined;
}

const regexRewrite = message({ match: regex, rewrite: z.string() }).transform((found, context) => {
  const problem = substitutionProblem(found.match, found.rewrite);
  return problem === undefined ? found : fail(context, problem);
});

function substitutionProblem(pattern: string, text: string): string | undefined {
  if (/[^!-~]/.test(text)) return "rewrite has a space, a control or a non-ASCII character in it: percent-encode it";
  const groups = groupCount(pattern);
  for (const [, next = ""] of text.matchAll(/\\(.?)/gs)) {
    if (next === "\\") continue;
    if (!/\d/.test(next))
      return String.raw`rewrite has a backslash that names no group: write \1, or \\ for the sign itself`;
    if (Number(next) > groups)
      return `rewrite names group \\${next}, and match has only ${groups}: mend one of the two`;
  }
  return undefined;
}

/** Of a pattern that has its own finding already it does not matter. */
function groupCount(pattern: string): number {
  try {
    return RE2JS.compile(pattern).groupCount();
  } catch {
    return 9;
  }
}

export const rewrite: z.ZodType<RewriteSpec> = message({
  uri: target.optional(),
  authority: authority.optional(),
  uriRegexRewrite: regexRewrite.optional(),
}).transform((found, context): RewriteSpec => {
  const { uri, authority: host, uriRegexRewrite } = found;
  if ((uri ?? host ?? uriRegexRewrite) === undefined)
    return fail(context, "rewrites nothing: add uri, authority or uriRegexRewrite, or remove it");
  if (uri !== undefined && uriRegexRewrite !== undefined)
    return fail(context, "only one of uri and uriRegexRewrite may be given: remove one");
  return found;
});
