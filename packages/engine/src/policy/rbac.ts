import { slot } from "../call.ts";
import type { Call, Slot } from "../call.ts";
import type { RbacConfig } from "../config.ts";
import type { Env } from "../env.ts";
import type { CallTest } from "../match/header.ts";
import type { Filter, LocalReply, Verdict } from "./filter.ts";
import { compilePolicy } from "./rbac-conditions.ts";
import type { Scope } from "./rbac-conditions.ts";
import { readingsOf } from "./readings.ts";

/** Why authorization refused a request: for logs, metrics and `explain`, never for the peer. One that passes has none, and pays for none. */
export interface RbacRefusal {
  /** Instance name of the filter that refused. */
  readonly filter: string;
  readonly action: "allow" | "deny";
  /** The policy that matched. */
  readonly policy: string | undefined;
  readonly reason: "policy" | "no policy" | "malformed" | "expired" | "error";
}

export const rbacRefusal: Slot<RbacRefusal> = slot("rbac refusal");

/** All that a peer learns. */
const DENIED: LocalReply = { status: 403, grpcStatus: 7, body: "RBAC: access denied", flag: "UAEX" };
const MALFORMED: LocalReply = { status: 400, grpcStatus: 13, body: "malformed request target", flag: "DPE" };

/**
 * Authorization of requests (R57). DENY refuses what one of its policies matches; ALLOW refuses what none of its policies
 * matches, so an ALLOW without policies refuses everything; LOG and a configuration without rules decide nothing
 * and are left out of the chain. Whatever goes wrong while a request is judged refuses that request.
 */
export function rbacFilter(config: RbacConfig, name: string, env: Env): Filter | undefined {
  const { rules } = config;
  if (rules === undefined || rules.action === "log") return undefined;
  const deny = rules.action === "deny";
  if (deny && rules.policies.length === 0) return undefined;
  const action = deny ? "deny" : "allow";
  const scope: Scope = { env, path: false, host: false };
  const policies = rules.policies.map((policy) => ({
    test: compilePolicy(policy, deny ? "any" : "all", scope),
    refusal: refusal(name, action, "policy", policy.name),
  }));
  // Made here once: a refusal costs a call no object of its own.
  const refusals = {
    "no policy": refusal(name, action, "no policy"),
    malformed: refusal(name, action, "malformed"),
    expired: refusal(name, action, "expired"),
    error: refusal(name, action, "error"),
  };

  const judge = (call: Call): Verdict => {
    const { peer } = call;
    // The certificate was checked when the connection began, but the connection may have outlived it (rule 8).
    if (peer !== undefined && peer.mtls && env.clock.wall() >= peer.notAfterMs) {
      call.put(rbacRefusal, refusals.expired);
      return DENIED;
    }
    if (unreadable(call, scope)) {
      call.put(rbacRefusal, refusals.malformed);
      return MALFORMED;
    }
    const found = firstMatch(policies, call);
    if ((found !== undefined) !== deny) return "continue";
    call.put(rbacRefusal, found?.refusal ?? refusals["no policy"]);
    return DENIED;
  };

  return {
    name,
    onFailure: "deny",
    onRequest(call) {
      try {
        return judge(call);
      } catch (thrown) {
        env.log.error("authorization could not be evaluated, so the request is refused", {
          filter: name,
          error: thrown,
        });
        call.put(rbacRefusal, refusals.error);
        return DENIED;
      }
    },
  };
}

function refusal(
  filter: string,
  action: RbacRefusal["action"],
  reason: RbacRefusal["reason"],
  policy?: string,
): RbacRefusal {
  return { filter, action, policy, reason };
}

/** A request that could mean several things is refused as soon as a rule asks what it means (rule 1, rule 3). */
function unreadable(call: Call, scope: Scope): boolean {
  if (scope.path && readingsOf(call).malformedPath !== undefined) return true;
  return scope.host && !readingsOf(call).host.ok;
}

interface Compiled {
  readonly test: CallTest;
  readonly refusal: RbacRefusal;
}

function firstMatch(policies: readonly Compiled[], call: Call): Compiled | undefined {
  for (const policy of policies) if (policy.test(call)) return policy;
  return undefined;
}
