import type { MessageInitShape } from "@bufbuild/protobuf";
import type { HeaderValueOptionSchema } from "@trama/proto/envoy/config/core/v3/base_pb.js";

import type { Chance } from "../chance.ts";
import { headerValue } from "./words.ts";

type Option = Exclude<MessageInitShape<typeof HeaderValueOptionSchema>, { $typeName: string }>;

export interface Mutations {
  requestHeadersToAdd?: Option[];
  requestHeadersToRemove?: string[];
  responseHeadersToAdd?: Option[];
  responseHeadersToRemove?: string[];
}

/** Two that requests carry, and two that only policy writes. */
const names = ["x-a", "x-b", "x-c", "X-D"];

/** What the levels do to fields: each action, values fixed and made, empty ones too. */
export function mutations(chance: Chance): Mutations {
  return {
    ...(chance.maybe(0.7) && { requestHeadersToAdd: chance.list(1, 3, () => option(chance)) }),
    ...(chance.maybe(0.3) && { requestHeadersToRemove: chance.some(chance.int(1, 2), names) }),
    ...responseMutations(chance),
  };
}

export function responseMutations(chance: Chance): Mutations {
  return {
    ...(chance.maybe(0.4) && { responseHeadersToAdd: chance.list(1, 2, () => option(chance)) }),
    ...(chance.maybe(0.2) && { responseHeadersToRemove: chance.some(1, names) }),
  };
}

function option(chance: Chance): Option {
  return {
    header: { key: chance.pick(names), value: value(chance) },
    appendAction: chance.int(0, 3),
    keepEmptyValue: chance.maybe(0.3),
  };
}

function value(chance: Chance): string {
  return chance.either(
    () => headerValue(chance).replaceAll("%", "%%"),
    () => headerValue(chance).replaceAll("%", "%%"),
    () => "",
    () => "50%% of (%REQ(x-b)%)",
    () => `%REQ(${chance.pick(["x-a", "X-B", "x-c", ":path", ":authority", ":method", "none"])})%`,
    () => `%REQ(none?${chance.pick(["x-a", ":path"])}):${chance.int(0, 4)}%`,
    () => "%REQ(x-a)%-%REQ(x-b?x-a):2%",
    () => `%${chance.pick(["UPSTREAM_CLUSTER", "ROUTE_NAME"])}%`,
    () => "%RESP(x-c)%",
  );
}
