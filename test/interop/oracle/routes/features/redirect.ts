import type { MessageInitShape } from "@bufbuild/protobuf";
import type { RedirectActionSchema } from "@trama/proto/envoy/config/route/v3/route_components_pb.js";

import type { Chance } from "../../chance.ts";
import { host } from "../../grammar/words.ts";
import type { RouteFeature } from "../feature.ts";
import { prefixes, regexRewrite } from "./rewrite.ts";

type Redirect = Exclude<MessageInitShape<typeof RedirectActionSchema>, { $typeName: string }>;

/** In place of a direct answer now and then: every part of a redirect. */
export const redirect: RouteFeature = ({ route }, chance) => {
  if (chance.maybe(0.15)) route.action = { case: "redirect", value: target(chance) };
};

function target(chance: Chance): Redirect {
  const path = chance.either<Redirect["pathRewriteSpecifier"]>(
    () => undefined,
    () => ({ case: "pathRedirect", value: chance.pick(["/", "/gone", "/gone?why=moved"]) }),
    () => ({ case: "prefixRewrite", value: prefixes(chance) }),
    () => ({ case: "regexRewrite", value: regexRewrite(chance) }),
  );
  const scheme = chance.either<Redirect["schemeRewriteSpecifier"]>(
    () => undefined,
    () => ({ case: "httpsRedirect", value: chance.maybe(0.8) }),
    () => ({ case: "schemeRedirect", value: chance.pick(["http", "https", "custom"]) }),
  );
  return {
    ...(path && { pathRewriteSpecifier: path }),
    ...(scheme && { schemeRewriteSpecifier: scheme }),
    ...(chance.maybe(0.3) && { hostRedirect: host(chance) }),
    ...(chance.maybe(0.3) && { portRedirect: chance.pick([80, 443, 8443]) }),
    responseCode: chance.int(0, 4),
    stripQuery: chance.maybe(0.2),
  };
}
