import type { MtlsMode, PeerPolicy } from "../../model/access.ts";
import type { MtlsMode as Written } from "../../sources/istio/peer-authentication.ts";
import type { Content } from "../../sources/object.ts";

/** PeerAuthentication → peer policy (istio-api §9). */
export function peerPolicy({ namespace, name, spec }: Content<"PeerAuthentication">): PeerPolicy {
  return {
    namespace,
    name,
    selector: spec.selector?.matchLabels ?? {},
    mode: modes[spec.mtls.mode],
    ports: new Map(Object.entries(spec.portLevelMtls).map(([port, { mode }]) => [Number(port), modes[mode]])),
  };
}

const modes: Readonly<Record<Written, MtlsMode | undefined>> = {
  UNSET: undefined,
  DISABLE: "disable",
  PERMISSIVE: "permissive",
  STRICT: "strict",
};
