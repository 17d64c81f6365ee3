import fc from "fast-check";
import { expect, test } from "vitest";

import type { Diagnostic } from "../diagnostics.ts";
import { divide } from "./divide.ts";
import { type FileContent, readFile } from "./file-content.ts";
import { readYaml, yamlBounds } from "./yaml.ts";

function read(text: string, before?: FileContent): { readonly content: FileContent; readonly steps: number } {
  const reading = readFile("f.yaml", text, (content) => content, before);
  let steps = 0;
  for (let step = reading.next(); ; step = reading.next(), steps++)
    if (step.done === true) return { content: step.value, steps };
}

const entry = (name: string, more = ""): string => `apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: { name: ${name} }
spec: { address: 10.0.0.1, ports: { http: 80 }, labels: { app: a }${more} }
`;

const places = (diagnostics: readonly Diagnostic[]): string[] =>
  diagnostics.map(({ line, column, message }) => `${line}:${column} ${message}`);

test("a file is cut at its borders, and nothing is lost", () => {
  expect(divide("a: 1\n---\nb: 2\n--- # two\nc: 3\n")).toEqual([
    { text: "a: 1\n", line: 0 },
    { text: "---\nb: 2\n", line: 1 },
    { text: "--- # two\nc: 3\n", line: 3 },
  ]);
  for (const whole of [
    "a: |\n  ---\n",
    "a: ---b\n---c: 1\n",
    "%YAML 1.2\n---\na: 1\n---\nb: 1\n",
    "a: 1\n...\n---\nb: 1\n",
    "---\n",
    "",
  ])
    expect(divide(whole)).toEqual([{ text: whole, line: 0 }]);
});

test("cut or whole, a file says the same", () => {
  const line = fc.constantFrom(
    "a: 1",
    "b: {c: [1, 2]}",
    "---",
    "--- {d: 1}",
    "--- # e",
    "# f",
    "",
    "g: |",
    "  ---",
    "  h",
    "i: 'x",
    "  y'",
    "\t",
    "- j",
    "---\r",
    "k: &l [1]",
    "m: *l",
  );
  fc.assert(
    fc.property(fc.array(line, { maxLength: 12 }), (lines) => {
      const text = lines.join("\n");
      const whole = readYaml(text);
      const parts = divide(text).map((part) => readYaml(part.text));
      const faults = parts.flatMap((part) => part.faults);
      // What is wrong in one of two documents may be told in other words, but it is never overlooked.
      expect(faults.length > 0).toBe(whole.faults.length > 0);
      if (faults.length > 0) return;
      const values = (documents: typeof whole.documents): unknown[] =>
        documents.map(({ value }) => value).filter((value) => value !== undefined && value !== null);
      expect(parts.flatMap((part) => values(part.documents))).toEqual(values(whole.documents));
    }),
    { numRuns: 2_000 },
  );
});

test("of a changed file only what changed is read again, and the rest is the same object in its new place", () => {
  const first = read([entry("a"), entry("b"), entry("c")].join("---\n"));
  expect(first.steps).toBe(3);
  const second = read(
    [entry("new"), "# a remark\n" + entry("a"), entry("b", ", weight: 7"), entry("c")].join("---\n"),
    first.content,
  );
  // The first part has no border in front of it; so the one that stood there has another text now.
  expect(second.steps).toBe(3);
  const named = ({ objects }: FileContent, name: string) => objects.find(({ content }) => content.name === name)!;
  expect(named(second.content, "c").content).toBe(named(first.content, "c").content);
  expect(named(second.content, "b").content).not.toBe(named(first.content, "b").content);
  expect(named(first.content, "c").error("value", ["spec", "address"], "x").line).toBe(14);
  expect(named(second.content, "c").error("value", ["spec", "address"], "x").line).toBe(20);
  expect(read([entry("a"), entry("b"), entry("c")].join("---\n"), first.content).steps).toBe(0);
});

test("a finding stands at its line of the file, when the part is read and when it is known already", () => {
  const wrong = entry("b", ", colour: red");
  const first = read([entry("a"), wrong].join("---\n"));
  const second = read(["# one line more\n" + entry("a"), wrong].join("---\n"), first.content);
  expect(places(first.content.diagnostics)).toEqual([expect.stringMatching(/^9:\d+ spec\.colour: /)]);
  expect(places(second.content.diagnostics)).toEqual([expect.stringMatching(/^10:\d+ spec\.colour: /)]);
  expect(second.steps).toBe(1);
});

test("the bounds of a file hold for all of its parts together", () => {
  const many = Array.from({ length: yamlBounds.documents + 1 }, () => "# nothing\n").join("---\n");
  expect(places(read(many).content.diagnostics)).toEqual([expect.stringMatching(/^4000:1 more than 2000 documents/)]);
  const row = `[${Array.from({ length: 999 }, () => "x").join()}]`;
  const heavy = `a: &a ${row}\nb: [${Array.from({ length: 60 }, () => "*a").join()}]\n`;
  const text = Array.from({ length: 4 }, () => heavy).join("---\n");
  expect(places(read(text).content.diagnostics).at(-1)).toMatch(/^10:\d+ more than 200000 values: divide the file$/);
});
