import * as z from "zod";

import { message } from "./message.ts";
import { duration, fail, percentage, whole } from "./values.ts";

/** Shares are parts of a million (istio-api §2.7). */
export interface FaultSpec {
  readonly delay?: (Share & { readonly fixedDelay: number }) | undefined;
  readonly abort?:
    | (Share & { readonly httpStatus?: number | undefined; readonly grpcStatus?: number | undefined })
    | undefined;
}

interface Share {
  readonly percentage: number;
  /** Written in the old form, as a whole number. */
  readonly deprecated: boolean;
  /** Not written, which means nobody. */
  readonly unsaid: boolean;
}

/** In the order of their numbers. */
const grpcStatuses =
  "OK CANCELLED UNKNOWN INVALID_ARGUMENT DEADLINE_EXCEEDED NOT_FOUND ALREADY_EXISTS PERMISSION_DENIED RESOURCE_EXHAUSTED FAILED_PRECONDITION ABORTED OUT_OF_RANGE UNIMPLEMENTED INTERNAL UNAVAILABLE DATA_LOSS UNAUTHENTICATED".split(
    " ",
  );

const share = {
  percentage: percentage.optional(),
  percent: whole(0, 100, "a percentage").optional(),
};

type Written = { readonly percentage?: number | undefined; readonly percent?: number | undefined };

/** Absent means nobody. */
function shareOf<T extends Written>(
  { percentage: perMillion, percent, ...rest }: T,
  context: Parameters<typeof fail>[0],
): Omit<T, keyof Written> & Share {
  if (perMillion !== undefined && percent !== undefined)
    return fail(context, "percentage and percent are both given: keep percentage");
  const unsaid = (perMillion ?? percent) === undefined;
  return { ...rest, percentage: perMillion ?? (percent ?? 0) * 10_000, deprecated: percent !== undefined, unsaid };
}

const reserved = "Istio reserves this field: use httpStatus, grpcStatus or fixedDelay";

export const fault: z.ZodType<FaultSpec> = message({
  delay: message({ fixedDelay: duration, ...share }, { exponentialDelay: reserved })
    .transform(shareOf)
    .optional(),
  abort: message(
    {
      httpStatus: whole(200, 599, "a status").optional(),
      grpcStatus: z
        .enum(grpcStatuses)
        .transform((name) => grpcStatuses.indexOf(name))
        .optional(),
      ...share,
    },
    { http2Error: reserved },
  )
    .refine(
      ({ httpStatus, grpcStatus }) => (httpStatus === undefined) !== (grpcStatus === undefined),
      "exactly one of httpStatus and grpcStatus is needed",
    )
    .transform(shareOf)
    .optional(),
}).refine(({ delay, abort }) => (delay ?? abort) !== undefined, "has neither delay nor abort: add one, or remove it");
