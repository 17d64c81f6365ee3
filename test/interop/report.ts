/** A line of the table. */
export interface Line {
  readonly peer: string;
  readonly version: string;
  /** Empty when the whole peer is skipped. */
  readonly capability: string;
  readonly result: "pass" | "fail" | "skipped";
  readonly detail: string;
  readonly ms: number;
  readonly figures?: Readonly<Record<string, number>>;
}

/** peer × capability × result, in columns. */
export function table(lines: readonly Line[]): string {
  const rows = lines.map(({ peer, version, capability, result, detail }) => [
    `${peer} ${version}`.trimEnd(),
    capability,
    result === "skipped" ? `skipped: ${detail}` : result,
    result === "skipped" ? "" : detail,
  ]);
  const all = [["peer", "capability", "result", ""], ...rows];
  const widths = [0, 1, 2].map((column) => Math.max(...all.map((row) => row[column]!.length)));
  return all
    .map(
      (row) =>
        `${row
          .map((cell, at) => cell.padEnd(widths[at] ?? 0))
          .join("  ")
          .trimEnd()}\n`,
    )
    .join("");
}
