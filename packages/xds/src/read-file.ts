import { readFile } from "node:fs";
import { promisify } from "node:util";

const read = promisify(readFile);

/** A file as text. Not by `node:fs/promises`: to load that costs a process that joins some milliseconds, which a few small files are not worth. */
export function readFileText(file: string): Promise<string> {
  return read(file, "utf8");
}
