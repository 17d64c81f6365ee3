import type { MessageInitShape } from "@bufbuild/protobuf";
import type { QueryParameterMatcherSchema } from "@trama/proto/envoy/config/route/v3/route_components_pb.js";

import type { Chance } from "../chance.ts";
import { stringMatcher } from "./strings.ts";

export type QueryInit = Exclude<MessageInitShape<typeof QueryParameterMatcherSchema>, { $typeName: string }>;

const names = ["q", "qq", "Q", "v", "%71", "a.b"];
const values = ["", "1", "12", "a", "ab", "A", "a=b", "%61", "a+b", "a?b", "a/b"];

/** A condition on a query parameter. `present_match: false` is refused by our decoder, by name (docs/interop.md). */
export function queryMatcher(chance: Chance): QueryInit {
  return {
    name: chance.pick(names),
    queryParameterMatchSpecifier: chance.either<QueryInit["queryParameterMatchSpecifier"] & object>(
      () => ({ case: "stringMatch", value: stringMatcher(chance, (dice) => dice.pick(values)) }),
      () => ({ case: "stringMatch", value: stringMatcher(chance, (dice) => dice.pick(values)) }),
      () => ({ case: "presentMatch", value: true }),
      () => ({ case: undefined }),
    ),
  };
}

/** A query with its question mark, or nothing: repeated names, bare names, empty names, values with signs of their own. */
export function query(chance: Chance): string {
  if (chance.maybe(0.4)) return "";
  const parameters = chance.list(0, 4, () => {
    if (chance.maybe(0.05)) return "";
    const name = chance.maybe(0.05) ? "" : chance.pick(names);
    return chance.maybe(0.2) ? name : `${name}=${chance.pick(values)}`;
  });
  return `?${parameters.join("&")}`;
}
