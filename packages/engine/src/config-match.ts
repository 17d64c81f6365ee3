export type PathMatch =
  | { readonly kind: "prefix"; readonly value: string; readonly ignoreCase: boolean }
  | { readonly kind: "exact"; readonly value: string; readonly ignoreCase: boolean }
  /** Whole path segments: `/a` matches `/a` and `/a/b`, not `/ab`. */
  | { readonly kind: "segments"; readonly value: string; readonly ignoreCase: boolean }
  | { readonly kind: "regex"; readonly value: string };

export type StringMatch =
  | { readonly kind: "exact" | "prefix" | "suffix" | "contains"; readonly value: string; readonly ignoreCase: boolean }
  | { readonly kind: "regex"; readonly value: string };

export interface HeaderMatch {
  /** Lower case; `:authority`, `:method` and `:path` are the pseudo headers. */
  readonly name: string;
  readonly test:
    | { readonly kind: "present"; readonly present: boolean }
    /** Half open: start ≤ value < end. */
    | { readonly kind: "range"; readonly start: number; readonly end: number }
    | { readonly kind: "string"; readonly match: StringMatch };
  readonly invert: boolean;
  /** Compare a missing header as empty text (`treat_missing_header_as_empty`). */
  readonly missingIsEmpty: boolean;
}

export interface QueryMatch {
  readonly name: string;
  /** `undefined`: the parameter must be present. */
  readonly match: StringMatch | undefined;
}
