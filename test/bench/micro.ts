import { execFile } from "node:child_process";
import { readdir } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { promisify, stripVTControlCharacters } from "node:util";

export interface Micro {
  readonly name: string;
  /** `name of the benchmark`, `average an iteration`; mitata's histograms are left to whoever runs the file alone. */
  readonly averages: readonly (readonly [string, string])[];
}

const folder = new URL("./micro/", import.meta.url);

export async function microFiles(): Promise<string[]> {
  return (await readdir(folder)).filter((name) => name.endsWith(".ts")).toSorted();
}

/**
 * The parts that are pure functions, by mitata, each file in a process of its own. They import the engine's sources: once V8 has
 * compiled a function, it makes no difference whether its types were stripped at load time or by the compiler.
 */
export async function runMicro(names: readonly string[], progress: (text: string) => void): Promise<Micro[]> {
  const results: Micro[] = [];
  for (const name of names) {
    progress(`micro/${name}`);
    const { stdout } = await promisify(execFile)(
      process.execPath,
      ["--expose-gc", "--conditions=trama-source", fileURLToPath(new URL(name, folder))],
      { timeout: 120_000, maxBuffer: 1 << 24, env: { ...process.env, NO_COLOR: "1" } },
    );
    const rows = stripVTControlCharacters(stdout).matchAll(/^(\S.*?) +([\d.,]+ [a-zµ]+)\/iter/gm);
    const averages = [...rows].map((row) => [row[1]!, row[2]!] as const);
    if (averages.length === 0) throw new Error(`micro/${name} printed no benchmark`);
    results.push({ name, averages });
  }
  return results;
}
