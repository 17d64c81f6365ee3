import { type MeshSettings, fullHost, platformHost } from "../../model/mesh.ts";
import type { Service, ServicePort } from "../../model/service.ts";
import { visibility } from "../../model/visibility.ts";
import type { PortProtocol, Resolution } from "../../sources/istio/service-entry.ts";
import type { Content } from "../../sources/object.ts";

/** NONE means the address that the caller dialled: in a process, that is the name that it called. */
const resolutions: Readonly<Record<Resolution, Service["resolution"]>> = {
  STATIC: "static",
  DNS: "dns",
  DNS_ROUND_ROBIN: "name",
  NONE: "name",
  DYNAMIC_DNS: "name",
};

const protocols: Readonly<Record<PortProtocol, ServicePort["protocol"]>> = {
  HTTP: "http",
  HTTP2: "http2",
  GRPC: "http2",
  HTTPS: "https",
  TLS: "tls",
  TCP: "tcp",
};

/** ServiceEntry → a service for each of its hosts (istio-api §4). */
export function services({ namespace, spec }: Content<"ServiceEntry">, mesh: MeshSettings): readonly Service[] {
  const shared = {
    namespace,
    ports: spec.ports.map(({ number, name, protocol, targetPort }) => ({
      number,
      name,
      protocol: protocols[protocol],
      targetPort: targetPort ?? number,
    })),
    resolution: resolutions[spec.resolution],
    internal: spec.location === "MESH_INTERNAL",
    visible: visibility(spec.exportTo, namespace),
    subjectAltNames: spec.subjectAltNames,
  };
  return spec.hosts.map((written) => {
    const host = fullHost(mesh, written, namespace);
    const platform = platformHost(mesh, host);
    // A host of the platform says its namespace itself: an entry for it that stands elsewhere does not move it.
    return { ...shared, host, name: platform?.name ?? host, namespace: platform?.namespace ?? namespace };
  });
}
