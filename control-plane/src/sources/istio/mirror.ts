import * as z from "zod";

import { type DestinationSpec, destination } from "./route-destination.ts";
import { message } from "./message.ts";
import { percentage, whole } from "./values.ts";

/** A destination that gets copies of calls (istio-api §2.2). */
export interface MirrorSpec {
  readonly destination: DestinationSpec;
  /** Parts of a million; absent: all. */
  readonly percentage?: number | undefined;
}

/** The fields of a rule: one mirror in the older form, with its share beside it, or several. */
export interface MirrorFields {
  readonly mirror?: DestinationSpec | undefined;
  readonly mirrorPercentage?: number | undefined;
  /** Deprecated: a whole number. */
  readonly mirrorPercent?: number | undefined;
  readonly mirrors?: readonly MirrorSpec[] | undefined;
}

export const mirrorFields: {
  readonly mirror: z.ZodOptional<z.ZodType<DestinationSpec>>;
  readonly mirrorPercentage: z.ZodOptional<z.ZodType<number>>;
  readonly mirrorPercent: z.ZodOptional<z.ZodType<number>>;
  readonly mirrors: z.ZodOptional<z.ZodType<readonly MirrorSpec[]>>;
} = {
  mirror: destination.optional(),
  mirrorPercentage: percentage.optional(),
  mirrorPercent: whole(0, 100, "a percentage").optional(),
  mirrors: z
    .array(message({ destination, percentage: percentage.optional() }))
    .min(1, "needs at least one destination: add one, or remove it")
    .optional(),
};

/** What the fields make impossible for each other. */
export function* mirrorProblems(found: MirrorFields): Iterable<{ readonly path: string[]; readonly message: string }> {
  const { mirror, mirrors, mirrorPercentage, mirrorPercent } = found;
  if (mirror !== undefined && mirrors !== undefined)
    yield { path: ["mirror"], message: "cannot stand beside mirrors: write it into the list" };
  const shares = { mirrorPercentage, mirrorPercent };
  for (const [field, share] of Object.entries(shares))
    if (share !== undefined && mirror === undefined)
      yield {
        path: [field],
        message: "is the share of mirror, which is not there: remove it, or write percentage in mirrors",
      };
  if (mirrorPercentage !== undefined && mirrorPercent !== undefined)
    yield { path: ["mirrorPercent"], message: "is the old form of mirrorPercentage, which is there too: remove it" };
}

/** Both forms as one list, with the place of each in the YAML. */
export function mirrorsOf(found: MirrorFields): readonly {
  readonly path: readonly (string | number)[];
  readonly destination: DestinationSpec;
  readonly perMillion: number;
}[] {
  const { mirror, mirrors = [], mirrorPercentage, mirrorPercent } = found;
  const all = 1_000_000;
  if (mirror !== undefined) {
    const share = mirrorPercentage ?? (mirrorPercent === undefined ? all : mirrorPercent * 10_000);
    return [{ path: ["mirror"], destination: mirror, perMillion: share }];
  }
  return mirrors.map(({ destination: to, percentage: share }, index) => ({
    path: ["mirrors", index, "destination"],
    destination: to,
    perMillion: share ?? all,
  }));
}
