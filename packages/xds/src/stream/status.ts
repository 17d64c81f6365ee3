import type { BootstrapNode } from "../bootstrap.ts";
import { XdsError, type XdsErrorCode } from "../errors.ts";
import type { StreamStatus } from "./transport.ts";

const permissionDenied = 7;
const unauthenticated = 16;

/** What the end of a stream means to people. The control plane's own code never reaches a call (R69). */
export function streamError(server: string, status: StreamStatus, node: BootstrapNode): XdsError {
  const said = status.message === "" ? `status ${status.code}` : status.message;
  const namespace = node.metadata["NAMESPACE"];
  const whose = typeof namespace === "string" ? ` (this node says ${JSON.stringify(namespace)})` : "";
  const [code, remedy]: [XdsErrorCode, string] =
    status.code === unauthenticated
      ? ["UNAUTHENTICATED", "get a new join token, and check that it is from this control plane and not expired"]
      : status.code === permissionDenied
        ? ["PERMISSION_DENIED", `the token's namespace and service account must be those of the node${whose}`]
        : ["CONTROL_PLANE_UNREACHABLE", "check its address, its root certificate and that it runs"];
  return new XdsError(code, `control plane ${server}: ${said}; ${remedy}`);
}
