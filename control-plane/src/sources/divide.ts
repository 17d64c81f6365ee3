/** A stretch of a file that can be read without the rest. */
export interface Part {
  readonly text: string;
  /** How many lines of the file stand before it. */
  readonly line: number;
}

/**
 * Cuts a file of YAML in front of each `---`, which at the beginning of a line is a border between documents wherever it stands (YAML 1.2.2
 * §9.1.2): inside of a text or a list it cannot be. So of a file in which one document changed only that one is read again. A file with directives
 * or `...` is left whole, for these belong to more than what stands between two borders.
 */
export function divide(text: string): readonly Part[] {
  if (/(?:^|\n)(?:%|\.\.\.(?:\s|$))/.test(text)) return [{ text, line: 0 }];
  const parts: Part[] = [];
  const borders = /(?<=\n)---(?=\s|$)/g;
  let line = 0;
  let from = 0;
  for (let border = borders.exec(text); border !== null; border = borders.exec(text)) {
    const part = text.slice(from, border.index);
    parts.push({ text: part, line });
    line += linesOf(part);
    from = border.index;
  }
  parts.push({ text: text.slice(from), line });
  return parts;
}

function linesOf(text: string): number {
  let count = 0;
  for (let at = text.indexOf("\n"); at >= 0; at = text.indexOf("\n", at + 1)) count++;
  return count;
}
