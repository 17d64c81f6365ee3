/**
 * One finding about the configuration, at a place in a file that a human can go to. Its message says what is wrong and
 * how to mend it; `code` is stable, for tools.
 */
export interface Diagnostic {
  /** An error holds back the change that brought it; a warning does not. */
  readonly severity: "error" | "warning";
  readonly code: DiagnosticCode;
  /** The folder as it was named and the path below it, so that it can be opened; the folder alone for faults without a file. */
  readonly file: string;
  /** From 1. */
  readonly line: number;
  /** From 1. */
  readonly column: number;
  readonly message: string;
}

export type DiagnosticCode =
  /** The folder or a file cannot be read, or is larger than it may be. */
  | "source"
  /** Not YAML. */
  | "yaml"
  /** A kind, version or name that is not known. */
  | "kind"
  /** A field that does not exist in this kind. */
  | "unknown-field"
  /** A field or value of Istio's that this release does not act on: refused, never ignored. */
  | "unsupported"
  /** A value of the wrong type or out of its bounds. */
  | "value"
  /** Two objects, or two entries, where only one may be. */
  | "conflict"
  /** Something is named that does not exist. */
  | "reference"
  /** Accepted, but probably not what was meant. */
  | "advice";

/** The form in which editors and terminals make places clickable: `file:line:column: what, and how to mend it`. */
export function formatDiagnostic(diagnostic: Diagnostic): string {
  const { file, line, column, message, severity } = diagnostic;
  return `${file}:${line}:${column}: ${severity === "warning" ? "warning: " : ""}${message}`;
}

/** Errors first, then by place. */
export function compareDiagnostics(a: Diagnostic, b: Diagnostic): number {
  if (a.severity !== b.severity) return a.severity === "error" ? -1 : 1;
  if (a.file !== b.file) return a.file < b.file ? -1 : 1;
  return a.line - b.line || a.column - b.column || (a.message < b.message ? -1 : a.message > b.message ? 1 : 0);
}
