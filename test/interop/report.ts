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
  const rows = lines.map(({ peer, version, capability, result, detail, ms }) => {
    const name = `${peer} ${version}`.trimEnd();
    if (result === "skipped") return [name, capability, `skipped: ${detail}`, "", ""];
    return [name, capability, result, `${Math.round(ms / 1_000)} s`, detail];
  });
  const all = [["peer", "capability", "result", "time", ""], ...rows];
  const widths = [0, 1, 2, 3].map((column) => Math.max(...all.map((row) => row[column]!.length)));
  const cell = (text: string, at: number): string =>
    at === 3 ? text.padStart(widths[3]!) : text.padEnd(widths[at] ?? 0);
  return all.map((row) => `${row.map(cell).join("  ").trimEnd()}\n`).join("");
}
