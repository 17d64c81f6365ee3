import type { FilterKind, FilterOverrides } from "@trama/engine";
import type { Any } from "@bufbuild/protobuf/wkt";
import { FilterConfigSchema } from "@trama/proto/lean";

import { type Typed, openAny } from "../any.ts";
import { ResourceError, within } from "../error.ts";
import type { DecodeOptions } from "../type.ts";
import { overrideCodecs } from "./kinds.ts";

const none: FilterOverrides = new Map();

/** `typed_per_filter_config`: by the filter's instance name, not by its type (R33). */
export function overrides(map: Readonly<Record<string, Any>>, options: DecodeOptions): FilterOverrides {
  const entries = Object.entries(map);
  if (entries.length === 0) return none;
  const found = new Map<string, FilterKind | "off">();
  for (const [name, any] of entries) {
    const value = within(JSON.stringify(name), () => override(openAny(any), options));
    if (value !== undefined) found.set(name, value);
  }
  return found;
}

/** The FilterConfig wrapper brings `is_optional` and `disabled` (R33). */
function override(typed: Typed, options: DecodeOptions): FilterKind | "off" | undefined {
  if (typed.typeName !== FilterConfigSchema.typeName) return known(typed, options, false);
  const wrapper = typed.as(FilterConfigSchema);
  if (wrapper.disabled) return "off";
  if (wrapper.config === undefined) throw new ResourceError("a FilterConfig needs config, or disabled: true");
  return known(openAny(wrapper.config), options, wrapper.isOptional);
}

function known(typed: Typed, options: DecodeOptions, optional: boolean): FilterKind | "off" | undefined {
  const read = overrideCodecs.get(typed.typeName);
  if (read !== undefined) return read(typed, options);
  if (optional) return undefined;
  throw new ResourceError(`${typed.typeName} is not supported by this release; remove it or mark it is_optional`);
}
