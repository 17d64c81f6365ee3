import { type FieldOperations, type FieldWrite, type HeaderOperations, formatFault } from "@trama/engine";
import { HeaderValueOption_HeaderAppendAction as AppendAction } from "@trama/proto/lean";
import type { HeaderValueOption } from "@trama/proto/envoy/config/core/v3/base_pb.js";

import { ResourceError, each, unsupported } from "./error.ts";
import { onlyFields } from "./fields.ts";

/** Of a route configuration, a virtual host, a route or a weighted cluster: they have these fields in common. */
export interface HeaderFields {
  readonly requestHeadersToAdd: readonly HeaderValueOption[];
  readonly requestHeadersToRemove: readonly string[];
  readonly responseHeadersToAdd: readonly HeaderValueOption[];
  readonly responseHeadersToRemove: readonly string[];
}

/** For `onlyFields`. */
export const headerFields: readonly (keyof HeaderFields)[] = [
  "requestHeadersToAdd",
  "requestHeadersToRemove",
  "responseHeadersToAdd",
  "responseHeadersToRemove",
];

/** `undefined` when nothing is said: then a call pays nothing for it. */
export function headerOperations(message: HeaderFields): HeaderOperations | undefined {
  const request = fields("request", message.requestHeadersToAdd, message.requestHeadersToRemove);
  const response = fields("response", message.responseHeadersToAdd, message.responseHeadersToRemove);
  return request === undefined && response === undefined ? undefined : { request, response };
}

function fields(
  side: "request" | "response",
  add: readonly HeaderValueOption[],
  remove: readonly string[],
): FieldOperations | undefined {
  if (add.length === 0 && remove.length === 0) return undefined;
  return {
    remove: each(`${side}_headers_to_remove`, remove, fieldName),
    write: each(`${side}_headers_to_add`, add, fieldWrite),
  };
}

function fieldWrite(option: HeaderValueOption): FieldWrite {
  onlyFields(option, ["header", "append", "appendAction", "keepEmptyValue"]);
  const { header } = option;
  if (header === undefined) throw new ResourceError("header is missing");
  if (header.rawValue.length > 0) unsupported("raw_value");
  const { value } = header;
  // oxlint-disable-next-line no-control-regex -- control characters are what is looked for
  if (/[\0-\x08\x0a-\x1f\x7f]/.test(value)) throw new ResourceError("header.value has a control character in it");
  const fault = formatFault(value);
  if (fault !== undefined) throw new ResourceError(`header.value: ${fault}`);
  return { name: fieldName(header.key), value, action: actionOf(option), keepEmpty: option.keepEmptyValue };
}

function actionOf({ append, appendAction }: HeaderValueOption): FieldWrite["action"] {
  if (append !== undefined) {
    // The older way to say it; both together contradict each other.
    if (appendAction !== AppendAction.APPEND_IF_EXISTS_OR_ADD)
      throw new ResourceError("both append and append_action are given");
    return append ? "append" : "overwrite";
  }
  switch (appendAction) {
    case AppendAction.APPEND_IF_EXISTS_OR_ADD:
      return "append";
    case AppendAction.ADD_IF_ABSENT:
      return "add_if_absent";
    case AppendAction.OVERWRITE_IF_EXISTS_OR_ADD:
      return "overwrite";
    case AppendAction.OVERWRITE_IF_EXISTS:
      return "overwrite_if_present";
    default:
      throw new ResourceError(`append_action ${String(appendAction)} is not known`);
  }
}

/** Pseudo fields and the host have ways of their own: the rewrites of a route. */
function fieldName(written: string): string {
  const name = written.toLowerCase();
  if (name.startsWith(":") || name === "host")
    throw new ResourceError(`${JSON.stringify(written)} cannot be changed here; use the rewrites of the route`);
  if (!/^[!#$%&'*+.^_`|~0-9a-z-]+$/.test(name))
    throw new ResourceError(`${JSON.stringify(written)} is not the name of a field`);
  return name;
}
