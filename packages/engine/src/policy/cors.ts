import { type Call, type Slot, slot } from "../call.ts";
import type { CorsConfig } from "../config-mutation.ts";
import type { Env } from "../env.ts";
import { compileString } from "../match/string.ts";
import type { Filter, LocalReply } from "./filter.ts";

/**
 * Fields that an application's own answer at a server gets, flat: `[name, value, …]`. A filter writes them before the application is asked,
 * for it answers by itself (docs/adr/0003); whoever hands the request to it sets them on its answer.
 */
export const answerFields: Slot<readonly string[]> = slot("fields of the application's answer");

/**
 * Cross-origin requests as Envoy's filter treats them (Fetch standard, CORS protocol): a preflight is answered here, other answers say to the
 * browser which origin may read them. It protects nobody by itself: browsers do. At a caller it changes the answers that its
 * application gets; at a server those that browsers get.
 */
export function corsFilter({ policy }: CorsConfig, name: string, env: Env): Filter | undefined {
  if (policy === undefined) return undefined;
  // Envoy asks its matchers about the text `*` too: an exact `*` is every origin.
  const tests = policy.origins.map((origin) => compileString(origin, env.regex));
  const allowed = (origin: string): boolean => tests.some((test) => test("*") || test(origin));
  const fixed: string[] = policy.allowCredentials ? ["access-control-allow-credentials", "true"] : [];
  const exposed = policy.exposeHeaders === "" ? [] : ["access-control-expose-headers", policy.exposeHeaders];

  const preflight = (call: Call, method: string): LocalReply => {
    const headers = [...fixed];
    const add = (field: string, value: string): void => void (value && headers.push(field, value));
    add("access-control-allow-methods", policy.allowMethods === "*" ? method : policy.allowMethods);
    // Envoy says it even of a preflight that asked for none.
    if (policy.allowHeaders === "*")
      headers.push("access-control-allow-headers", call.headers.get("access-control-request-headers") ?? "");
    else add("access-control-allow-headers", policy.allowHeaders);
    add("access-control-max-age", policy.maxAge);
    if (policy.allowPrivateNetwork && call.headers.get("access-control-request-private-network") === "true")
      add("access-control-allow-private-network", "true");
    return { status: 200, headers, flag: "-", asIs: true };
  };

  return {
    name,
    // Whoever may not read an answer must not get it because something here went wrong.
    onFailure: "deny",
    onRequest(call) {
      const origin = call.headers.get("origin");
      if (origin === undefined || origin === "") return "continue";
      const good = allowed(origin);
      const method = call.method === "OPTIONS" ? call.headers.get("access-control-request-method") : undefined;
      // The answer to a preflight passes here, too, and gets them.
      if (good) call.put(answerFields, ["access-control-allow-origin", origin, ...fixed, ...exposed]);
      // An OPTIONS request without that field is one like any other.
      if (method !== undefined && method !== "" && (good || !policy.forwardUnmatched)) return preflight(call, method);
      return "continue";
    },
    onResponse(call, { headers }) {
      const fields = call.get(answerFields);
      if (fields !== undefined) for (let i = 0; i < fields.length; i += 2) headers.set(fields[i]!, fields[i + 1]!);
    },
  };
}
