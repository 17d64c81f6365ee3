import type { Logger } from "@trama/engine";

/** Warnings and errors to stderr, one line each; what a process gets that brings no logger of its own. */
export function stderrLogger(): Logger {
  const write = (level: string) => (message: string, fields?: object) => {
    const text = fields === undefined ? "" : ` ${JSON.stringify(fields, plain)}`;
    process.stderr.write(`trama ${level}: ${message}${text}\n`);
  };
  return { debug() {}, info() {}, warn: write("warning"), error: write("error") };
}

/** Errors have no enumerable fields, and big integers no JSON. */
function plain(_key: string, value: unknown): unknown {
  if (value instanceof Error) return value.message;
  return typeof value === "bigint" ? String(value) : value;
}
