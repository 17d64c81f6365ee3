import { isIP } from "node:net";
import { status } from "@grpc/grpc-js";

import type { ProxySettings } from "../snapshot.ts";
import { StreamFault } from "./limits.ts";

const defaultOutbound = "127.0.0.1:15001";
const defaultApplication = "127.0.0.1";

/** What a sidecar's metadata says of its place; `bootstrap --for envoy` writes these keys, but for Istio's own. */
export function proxySettings(read: (key: string) => string | undefined): ProxySettings {
  const identityFile = read("TRAMA_IDENTITY_FILE");
  if (identityFile !== undefined && !identityFile.startsWith("/"))
    throw invalid("TRAMA_IDENTITY_FILE", "an absolute path");
  const listen = read("TRAMA_OUTBOUND") ?? defaultOutbound;
  const [, host = "", digits = ""] = /^(.*):([1-9]\d{0,4})$/.exec(listen) ?? [];
  const address = host.replace(/^\[(.*)\]$/, "$1");
  const port = Number(digits);
  if (isIP(address) === 0 || port > 65_535) throw invalid("TRAMA_OUTBOUND", "<ip>:<port>");
  const application = read("TRAMA_APPLICATION") ?? defaultApplication;
  if (isIP(application) === 0) throw invalid("TRAMA_APPLICATION", "an address");
  const selfDiscovery = read("ENABLE_SELF_DISCOVERY") === "true";
  const id = JSON.stringify([identityFile, address, port, application, selfDiscovery]);
  return { identityFile, outbound: { address, port }, application, selfDiscovery, id };
}

function invalid(key: string, form: string): StreamFault {
  return new StreamFault(status.INVALID_ARGUMENT, `node.metadata.${key} is not ${form}`);
}
