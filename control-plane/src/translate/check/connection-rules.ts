import type { Diagnostic } from "../../diagnostics.ts";
import { type CallerMatch, type RouteTable, isAlwaysOpaque } from "../../model/route.ts";
import { type Service, type ServicePort, hasLabels } from "../../model/service.ts";
import type { CallerMatchSpec } from "../../sources/istio/caller-match.ts";
import { fieldPath } from "../../sources/istio/explain.ts";
import type { ConfigObject } from "../../sources/object.ts";
import type { Path } from "../../sources/yaml.ts";
import { callerMatch } from "../istio/virtual-service.ts";
import { takes } from "./leads.ts";
import { idleGateways } from "./rule-advice.ts";

type VirtualService = ConfigObject<"VirtualService">;

/** Rules that have no port to be about, and names that two of them want. `services`: behind the hosts of the object. */
export function* checkConnectionRules(
  object: VirtualService,
  table: RouteTable,
  services: readonly Service[],
): Iterable<Diagnostic> {
  const { spec } = object.content;
  const ports = services.flatMap((service) => service.ports);
  const advise = (path: Path, text: string): Diagnostic =>
    object.warning("advice", path, `${fieldPath(path)}: ${text}`);
  // A host without a service was told of, and a delegate has none of its own.
  if (ports.length > 0)
    for (const list of ["http", "tls", "tcp"] as const) {
      const isAbout = (port: ServicePort): boolean =>
        list === "http" ? !isOpaqueToAll(port, table) : takes(list, port);
      yield* checkPorts(list, spec[list], ports, isAbout, advise);
    }
  for (const list of ["tls", "tcp"] as const)
    for (const [index, { match }] of spec[list].entries())
      for (const [at, one] of match.entries())
        for (const { path, text } of idleGateways(one)) yield advise(["spec", list, index, "match", at, ...path], text);
  const last = spec.tcp.findIndex(({ match }) => match.length === 0);
  if (last !== -1 && last < spec.tcp.length - 1)
    yield advise(
      ["spec", "tcp", last + 1],
      "is never reached, since the rule before it takes every connection: move or remove it",
    );
  yield* checkServerNames(object);
}

function isOpaqueToAll(port: ServicePort, { tls }: RouteTable): boolean {
  const isForAll = (match: CallerMatch): boolean =>
    match.inMesh &&
    (match.port ?? port.number) === port.number &&
    match.sourceNamespace === undefined &&
    Object.keys(match.sourceLabels).length === 0;
  return isAlwaysOpaque(port) || (port.protocol === "https" && tls.some(({ matches }) => matches.some(isForAll)));
}

const about = {
  http: "takes requests: they take connections, which tls and tcp rules lead",
  tls: "is TLS or HTTPS, and these rules are about no others",
  tcp: "is TCP, and these rules are about no others",
} as const;

/** Istio passes over rules without a port that they could be about. */
function* checkPorts(
  list: keyof typeof about,
  rules: readonly { readonly match: readonly CallerMatchSpec[] }[],
  ports: readonly ServicePort[],
  isAbout: (port: ServicePort) => boolean,
  advise: (path: Path, text: string) => Diagnostic,
): Iterable<Diagnostic> {
  if (rules.length === 0) return;
  if (!ports.some(isAbout)) {
    const all = [...new Set(ports.map(({ number }) => number))].sort((a, b) => a - b).join(", ");
    yield advise(["spec", list], `has no effect, for no port of the hosts (${all}) ${about[list]}`);
    return;
  }
  for (const [index, { match }] of rules.entries())
    for (const [at, { port }] of match.entries()) {
      if (port === undefined || ports.some((each) => each.number === port && isAbout(each))) continue;
      // http rules for a port that is not there may be meant for one to come.
      if (list === "http" && ports.every(({ number }) => number !== port)) continue;
      const path = ["spec", list, index, "match", at, "port"];
      yield advise(path, `the match never holds, for no port ${port} of the hosts ${about[list]}`);
    }
}

/** Envoy refuses two filter chains for one name, and of two rules for it the second is never reached. */
function* checkServerNames(object: VirtualService): Iterable<Diagnostic> {
  const seen = new Map<string, { readonly match: CallerMatch; readonly path: Path }[]>();
  for (const [index, { match: matches }] of object.content.spec.tls.entries())
    for (const [at, one] of matches.entries()) {
      const match = callerMatch(one);
      for (const [nth, name] of one.sniHosts.entries()) {
        const earlier = seen.get(name) ?? [];
        const path = ["spec", "tls", index, "match", at, "sniHosts", nth];
        const first = earlier.find((each) => isWithin(match, each.match));
        if (first !== undefined) {
          const text = `${name} is led by ${fieldPath(first.path)} already, for the same callers: remove one of the two`;
          yield object.error("conflict", path, `${fieldPath(path)}: ${text}`);
        }
        seen.set(name, [...earlier, { match, path: path.slice(0, -2) }]);
      }
    }
}

/** Whether whoever the inner one is for comes to the outer one first. */
function isWithin(inner: CallerMatch, outer: CallerMatch): boolean {
  return (
    inner.inMesh &&
    outer.inMesh &&
    (outer.port === undefined || outer.port === inner.port) &&
    (outer.sourceNamespace === undefined || outer.sourceNamespace === inner.sourceNamespace) &&
    hasLabels(inner.sourceLabels, outer.sourceLabels)
  );
}
