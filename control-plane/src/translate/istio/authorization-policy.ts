import type { AccessPolicy, Operation, Source, Values } from "../../model/access.ts";
import type { OperationSpec, SourceSpec } from "../../sources/istio/authorization-policy.ts";
import type { Content } from "../../sources/object.ts";

/** AuthorizationPolicy → access policy (istio-api §11). */
export function accessPolicy({ namespace, name, spec }: Content<"AuthorizationPolicy">): AccessPolicy {
  return {
    namespace,
    name,
    action: spec.action === "DENY" ? "deny" : "allow",
    selector: spec.selector?.matchLabels ?? {},
    rules: spec.rules.map(({ from, to }) => ({
      sources: from?.map(({ source }) => translateSource(source)),
      operations: to?.map(({ operation }) => translateOperation(operation)),
    })),
  };
}

function translateSource(source: SourceSpec): Source {
  return {
    principals: values(source.principals, source.notPrincipals),
    namespaces: values(source.namespaces, source.notNamespaces),
  };
}

function translateOperation(operation: OperationSpec): Operation {
  return {
    hosts: values(operation.hosts, operation.notHosts),
    ports: values(operation.ports, operation.notPorts),
    methods: values(operation.methods, operation.notMethods),
    paths: values(operation.paths, operation.notPaths),
  };
}

function values<T>(any: readonly T[] | undefined, none: readonly T[] | undefined): Values<T> {
  return { any: any ?? [], none: none ?? [] };
}
