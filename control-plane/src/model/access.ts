import { hasLabels } from "./service.ts";

/** Who may call a workload. Policies of all layers add up (istio-api §1.3). */
export interface AccessPolicy {
  readonly namespace: string;
  readonly name: string;
  readonly action: "allow" | "deny";
  /** Empty: every workload. */
  readonly selector: Readonly<Record<string, string>>;
  /** Any of them; none means that the policy matches nothing. */
  readonly rules: readonly AccessRule[];
}

/** Any source and any operation; `undefined` = no condition. */
export interface AccessRule {
  readonly sources: readonly Source[] | undefined;
  readonly operations: readonly Operation[] | undefined;
}

/** All of the conditions. */
export interface Source {
  readonly principals: Values;
  readonly namespaces: Values;
}

export interface Operation {
  readonly hosts: Values;
  readonly ports: Values<number>;
  readonly methods: Values;
  readonly paths: Values;
}

/** One of `any`, and none of `none`; an empty list is no condition. */
export interface Values<T = string> {
  readonly any: readonly T[];
  readonly none: readonly T[];
}

/**
 * What is left of a policy where no request is read, as in Istio (istio-api §11.2): an ALLOW rule that looks at requests lets nobody in, and
 * a DENY rule is wider by that condition.
 */
export function connectionRules(policy: AccessPolicy): AccessPolicy {
  const rules = policy.rules.flatMap((rule): readonly AccessRule[] => {
    if (!looksAtRequests(rule)) return [rule];
    if (policy.action === "allow") return [];
    return [{ ...rule, operations: rule.operations?.map((each) => ({ ...nothingAsked, ports: each.ports })) }];
  });
  return { ...policy, rules };
}

export function looksAtRequests({ operations }: AccessRule): boolean {
  return (
    operations?.some(({ hosts, methods, paths }) =>
      [hosts, methods, paths].some(({ any, none }) => any.length + none.length > 0),
    ) === true
  );
}

const nothingAsked = { hosts: noValues(), methods: noValues(), paths: noValues() };

function noValues(): Values {
  return { any: [], none: [] };
}

export type MtlsMode = "disable" | "permissive" | "strict";

/** How connections to a workload must be made. */
export interface PeerPolicy {
  readonly namespace: string;
  readonly name: string;
  /** Empty: the whole namespace. */
  readonly selector: Readonly<Record<string, string>>;
  /** `undefined`: inherited. */
  readonly mode: MtlsMode | undefined;
  /** By port of the workload. */
  readonly ports: ReadonlyMap<number, MtlsMode | undefined>;
}

/** A port's own word, then workload, namespace, mesh, and at last PERMISSIVE (istio-api §9). */
export function mtlsMode(policies: PeerPolicies, labels: Readonly<Record<string, string>>, port: number): MtlsMode {
  const workload = policies.namespace.find((policy) => isSelective(policy) && hasLabels(labels, policy.selector));
  const namespace = policies.namespace.find((policy) => !isSelective(policy));
  const root = policies.root.find((policy) => !isSelective(policy));
  return workload?.ports.get(port) ?? workload?.mode ?? namespace?.mode ?? root?.mode ?? "permissive";
}

/** Those that can matter for workloads of one namespace, each list by name. */
export interface PeerPolicies {
  readonly namespace: readonly PeerPolicy[];
  readonly root: readonly PeerPolicy[];
}

export function isSelective(policy: { readonly selector: Readonly<Record<string, string>> }): boolean {
  return Object.keys(policy.selector).length > 0;
}
