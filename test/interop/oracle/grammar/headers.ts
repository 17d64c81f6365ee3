import type { MessageInitShape } from "@bufbuild/protobuf";
import type { HeaderMatcherSchema } from "@trama/proto/envoy/config/route/v3/route_components_pb.js";

import type { Chance } from "../chance.ts";
import { regexFrom } from "./regexes.ts";
import { stringMatcher } from "./strings.ts";
import type { Sample } from "./strings.ts";
import { headerValue, host, methods, numberText, path } from "./words.ts";

export type HeaderInit = Exclude<MessageInitShape<typeof HeaderMatcherSchema>, { $typeName: string }>;

/** Headers that requests carry, and what stands in them. */
const plain: readonly (readonly [name: string, sample: Sample])[] = [
  ["x-a", headerValue],
  ["x-b", headerValue],
  ["x-empty", (chance) => chance.pick(["", "a"])],
  ["x-number", numberText],
  ["user-agent", (chance) => chance.pick(["curl/8.0", "Mozilla/5.0 (X11)", "curl"])],
];

const pseudo: readonly (readonly [name: string, sample: Sample])[] = [
  [":method", (chance) => chance.pick(methods)],
  [":path", (chance) => path(chance) + (chance.maybe(0.3) ? "?q=1" : "")],
  [":authority", host],
  ["host", host],
];

/** A condition on one header: every kind of the API, the older fields included. */
export function headerMatcher(chance: Chance): HeaderInit {
  const [name, sample] = chance.pick(chance.maybe(0.8) ? plain : pseudo);
  return onHeader(chance, chance.maybe(0.2) && !name.startsWith(":") ? chance.mixCase(name) : name, sample);
}

/** The same, on plain headers only. */
export function plainHeaderMatcher(chance: Chance): HeaderInit {
  const [name, sample] = chance.pick(plain);
  return onHeader(chance, name, sample);
}

function onHeader(chance: Chance, name: string, sample: Sample): HeaderInit {
  return {
    name,
    invertMatch: chance.maybe(0.25),
    treatMissingHeaderAsEmpty: chance.maybe(0.2),
    headerMatchSpecifier: specifier(chance, sample),
  };
}

function specifier(chance: Chance, sample: Sample): HeaderInit["headerMatchSpecifier"] & object {
  const text = sample(chance);
  const part = text.slice(0, chance.int(1, 3)) || "a";
  return chance.either<HeaderInit["headerMatchSpecifier"] & object>(
    () => ({ case: "stringMatch", value: stringMatcher(chance, sample) }),
    () => ({ case: "stringMatch", value: stringMatcher(chance, sample) }),
    () => ({ case: "stringMatch", value: stringMatcher(chance, sample) }),
    () => ({ case: "presentMatch", value: chance.maybe(0.7) }),
    () => {
      const start = chance.int(-6, 10);
      return { case: "rangeMatch", value: { start: BigInt(start), end: BigInt(start + chance.int(0, 8)) } };
    },
    () => ({ case: "exactMatch", value: text }),
    () => ({ case: "prefixMatch", value: part }),
    () => ({ case: "suffixMatch", value: part }),
    () => ({ case: "containsMatch", value: part }),
    () => ({ case: "safeRegexMatch", value: { regex: regexFrom(chance, text, sample) } }),
    () => ({ case: undefined }),
  );
}

/** The headers of a request: each now and then absent, and now and then there twice. */
export function requestHeaders(chance: Chance, most = 2): [name: string, value: string][] {
  const found: [string, string][] = [];
  for (const [name, sample] of plain) {
    // A second user-agent is not joined but refused or dropped by many; only fields of our own come twice.
    const count = chance.maybe(0.45) ? 0 : name.startsWith("x-") && chance.maybe(0.15) ? most : 1;
    for (let i = 0; i < count; i++) found.push([chance.maybe(0.2) ? chance.mixCase(name) : name, sample(chance)]);
  }
  return found;
}
