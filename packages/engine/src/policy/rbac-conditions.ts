import type { Call } from "../call.ts";
import type { HeaderMatch, Permission, Principal, RbacPolicy } from "../config.ts";
import type { Env } from "../env.ts";
import { compileCidr } from "../match/cidr.ts";
import { compileHeaderStrict, isHost } from "../match/header.ts";
import type { CallTest, Quantifier } from "../match/header.ts";
import { compileString } from "../match/string.ts";
import { compileHost, compilePathReadings, compileTargetReadings } from "./readings.ts";

/** What a set of rules looks at, so that a request which cannot be read in that respect is refused beforehand. */
export interface Scope {
  readonly env: Pick<Env, "regex">;
  path: boolean;
  host: boolean;
}

/**
 * Compiles a policy: any permission and any principal.
 *
 * `doubt` says what counts when a request can be read in several ways (path spellings, repeated headers): in a DENY any reading is
 * enough, in an ALLOW all must agree. A negation turns it round: "not /admin" allows only if no reading is /admin.
 */
export function compilePolicy(policy: RbacPolicy, doubt: Quantifier, scope: Scope): CallTest {
  const permitted = anyOf(policy.permissions.map((one) => permission(one, doubt, scope)));
  const known = anyOf(policy.principals.map((one) => principal(one, doubt, scope)));
  return (call) => permitted(call) && known(call);
}

function permission(rule: Permission, doubt: Quantifier, scope: Scope): CallTest {
  switch (rule.kind) {
    case "any":
      return always;
    case "never":
      return never;
    case "and":
      return allOf(rule.of.map((one) => permission(one, doubt, scope)));
    case "or":
      return anyOf(rule.of.map((one) => permission(one, doubt, scope)));
    case "not":
      return not(permission(rule.of, opposite(doubt), scope));
    case "header":
      return header(rule.match, doubt, scope);
    case "path":
      scope.path = true;
      return compilePathReadings(rule.match, doubt, scope.env.regex);
    case "destination_ip": {
      const test = compileCidr(rule.cidr);
      return ({ peer }) => peer !== undefined && test(peer.localAddress);
    }
    case "destination_port": {
      const { from, to } = rule;
      return ({ peer }) => peer !== undefined && peer.localPort >= from && peer.localPort <= to;
    }
    case "server_name": {
      const test = compileString(rule.match, scope.env.regex);
      // gRPC's own servers cannot see it, and the same policy must mean the same there (R57).
      return ({ peer, protocol }) => test(protocol === "grpc" ? "" : (peer?.serverName ?? ""));
    }
  }
}

function principal(rule: Principal, doubt: Quantifier, scope: Scope): CallTest {
  switch (rule.kind) {
    case "any":
      return always;
    case "never":
      return never;
    case "and":
      return allOf(rule.of.map((one) => principal(one, doubt, scope)));
    case "or":
      return anyOf(rule.of.map((one) => principal(one, doubt, scope)));
    case "not":
      return not(principal(rule.of, opposite(doubt), scope));
    case "authenticated": {
      // A plaintext peer is nobody: it never matches, and the negation of the rule does (dataplane.md §23 rule 10).
      if (rule.match === undefined) return ({ peer }) => peer?.mtls === true;
      const test = compileString(rule.match, scope.env.regex);
      return ({ peer }) => peer?.mtls === true && peer.spiffeId !== undefined && test(peer.spiffeId);
    }
    case "source_ip": {
      const test = compileCidr(rule.cidr);
      return ({ peer }) => peer !== undefined && test(peer.remoteAddress);
    }
    case "header":
      return header(rule.match, doubt, scope);
    case "path":
      scope.path = true;
      return compilePathReadings(rule.match, doubt, scope.env.regex);
  }
}

function header(match: HeaderMatch, doubt: Quantifier, scope: Scope): CallTest {
  if (match.name === ":path") {
    scope.path = true;
    return compileTargetReadings(match, doubt, scope.env);
  }
  if (isHost(match.name)) {
    scope.host = true;
    return compileHost(match, scope.env);
  }
  return compileHeaderStrict(match, doubt, scope.env);
}

const always: CallTest = () => true;
const never: CallTest = () => false;

function opposite(doubt: Quantifier): Quantifier {
  return doubt === "any" ? "all" : "any";
}

function not(test: CallTest): CallTest {
  return (call) => !test(call);
}

/** Nothing to choose from matches nothing. */
function anyOf(tests: readonly CallTest[]): CallTest {
  if (tests.length === 1) return tests[0]!;
  return (call: Call) => {
    for (const test of tests) if (test(call)) return true;
    return false;
  };
}

function allOf(tests: readonly CallTest[]): CallTest {
  if (tests.length === 1) return tests[0]!;
  return (call: Call) => {
    for (const test of tests) if (!test(call)) return false;
    return true;
  };
}
