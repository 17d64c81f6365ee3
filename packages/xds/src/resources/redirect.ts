import type { RedirectAction } from "@trama/engine";
import { RedirectAction_RedirectResponseCode as Code } from "@trama/proto/lean";
import type { RedirectAction as ProtoRedirect } from "@trama/proto/envoy/config/route/v3/route_components_pb.js";

import { ResourceError, within } from "./error.ts";
import { onlyFields } from "./fields.ts";
import { pathRewrite, pathText, regexRewrite } from "./rewrite.ts";
import type { DecodeOptions } from "./type.ts";

const statuses: Readonly<Record<Code, RedirectAction["status"]>> = {
  [Code.MOVED_PERMANENTLY]: 301,
  [Code.FOUND]: 302,
  [Code.SEE_OTHER]: 303,
  [Code.TEMPORARY_REDIRECT]: 307,
  [Code.PERMANENT_REDIRECT]: 308,
};

export function redirect(message: ProtoRedirect, options: DecodeOptions): RedirectAction {
  onlyFields(message, [
    "schemeRewriteSpecifier",
    "hostRedirect",
    "portRedirect",
    "pathRewriteSpecifier",
    "responseCode",
    "stripQuery",
  ]);
  const status = statuses[message.responseCode] as RedirectAction["status"] | undefined;
  if (status === undefined) throw new ResourceError(`response_code ${message.responseCode} is not known`);
  if (message.portRedirect > 65_535) throw new ResourceError(`port_redirect ${message.portRedirect} is not a port`);
  return {
    kind: "redirect",
    status,
    scheme: schemeOf(message),
    authority: message.hostRedirect === "" ? undefined : pathText(message.hostRedirect, "host_redirect"),
    port: message.portRedirect || undefined,
    path: pathOf(message, options),
    stripQuery: message.stripQuery,
  };
}

function schemeOf({ schemeRewriteSpecifier: one }: ProtoRedirect): string | undefined {
  if (one.case === "httpsRedirect") return one.value ? "https" : undefined;
  if (one.value === undefined || one.value === "") return undefined;
  if (!/^[a-z][a-z0-9+.-]*$/.test(one.value)) throw new ResourceError("scheme_redirect is not a scheme");
  return one.value;
}

function pathOf(message: ProtoRedirect, options: DecodeOptions): RedirectAction["path"] {
  const { pathRewriteSpecifier: one } = message;
  switch (one.case) {
    case "pathRedirect":
      return one.value === "" ? undefined : { kind: "whole", value: pathText(one.value, "path_redirect") };
    case "prefixRewrite":
      return pathRewrite({ prefixRewrite: one.value }, options);
    case "regexRewrite":
      return within("regex_rewrite", () => regexRewrite(one.value, options));
    case undefined:
      return undefined;
  }
}
