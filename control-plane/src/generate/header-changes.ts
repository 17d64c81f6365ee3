import type { MessageInitShape } from "@bufbuild/protobuf";
import {
  HeaderValueOption_HeaderAppendAction as AppendAction,
  type HeaderValueOptionSchema,
} from "@trama/proto/envoy/config/core/v3/base_pb.js";

import type { FieldChanges, HeaderChanges } from "../model/route.ts";

type Option = MessageInitShape<typeof HeaderValueOptionSchema>;

/** The four fields that a route and a weighted cluster have in common. */
export interface HeaderFields {
  readonly requestHeadersToAdd?: Option[];
  readonly requestHeadersToRemove?: string[];
  readonly responseHeadersToAdd?: Option[];
  readonly responseHeadersToRemove?: string[];
}

export function headerFields(changes: HeaderChanges | undefined): HeaderFields {
  if (changes === undefined) return {};
  const { request, response } = changes;
  return {
    requestHeadersToAdd: written(request),
    requestHeadersToRemove: [...request.remove],
    responseHeadersToAdd: written(response),
    responseHeadersToRemove: [...response.remove],
  };
}

function written({ set, add }: FieldChanges): Option[] {
  const option =
    (appendAction: AppendAction) =>
    ({ name, value }: { name: string; value: string }): Option => ({
      header: { key: name, value },
      appendAction,
      // Who writes an empty text wants the header to be there; an operator that finds nothing leaves it out.
      keepEmptyValue: value === "",
    });
  return [
    ...set.map(option(AppendAction.OVERWRITE_IF_EXISTS_OR_ADD)),
    ...add.map(option(AppendAction.APPEND_IF_EXISTS_OR_ADD)),
  ];
}
