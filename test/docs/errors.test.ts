import { readFileSync } from "node:fs";
import { meshErrorCodes } from "@trama/engine";
import { expect, it } from "vitest";

const read = (path: string): string => readFileSync(new URL(`../../${path}`, import.meta.url), "utf8");
const page = read("docs/errors.md");

/** Rows of the table below a heading, cell by cell. */
function rows(heading: string): string[][] {
  const section = page.split(/^## /m).find((part) => part.startsWith(heading));
  return (section ?? "")
    .split("\n")
    .filter((line) => /^\| [A-Z]/.test(line))
    .map((line) =>
      line
        .split("|")
        .slice(1, -1)
        .map((cell) => cell.trim()),
    );
}

/** The members of a union of codes, as its source lists them. */
function union(file: string, type: string): string[] {
  const source = read(file).split(`export type ${type} =`)[1]!.split(";\n\n")[0]!;
  return [...source.matchAll(/\| "([A-Z_]+)"/g)].map((match) => match[1]!);
}

it("names every code of a MeshError, with its status and flag", () => {
  const documented = rows("Calls").map(([code, status, flag]) => [code, { status: Number(status), flag }]);
  expect(Object.fromEntries(documented)).toEqual(meshErrorCodes);
});

it.each([
  ["Joining", "packages/sdk/src/errors.ts", "TramaErrorCode"],
  ["The control plane", "control-plane/src/errors.ts", "ControlPlaneErrorCode"],
])("%s: names every code of %s", (heading, file, type) => {
  const codes = union(file, type);
  expect(codes.length).toBeGreaterThan(5);
  expect(rows(heading).map(([code]) => code)).toEqual(codes);
});
