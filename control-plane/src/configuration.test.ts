import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { expect, test } from "vitest";

import { openConfiguration } from "./configuration.ts";
import { formatDiagnostic } from "./diagnostics.ts";
import { defaultMesh } from "./model/mesh.ts";
import type { SnapshotSource } from "./snapshot.ts";

const entry = `apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: { name: a, namespace: shop }
spec: { hosts: [a], resolution: STATIC, ports: [{ number: 80, name: http }], endpoints: [{ address: 10.0.0.1 }] }
`;

function next(listen: (fn: () => void) => () => void): Promise<void> {
  return new Promise((resolve) => {
    const end = listen(() => {
      end();
      resolve();
    });
  });
}

function snapshot(source: SnapshotSource): Promise<void> {
  return next((fn) => source.subscribe(fn));
}

test("a folder becomes snapshots; a fault is told and changes nothing", async () => {
  const folder = await mkdtemp(join(tmpdir(), "trama-configuration-"));
  const file = join(folder, "a.yaml");
  await writeFile(file, entry);
  const source = openConfiguration({ folders: [folder], mesh: defaultMesh });
  try {
    expect(source.current).toBeUndefined();
    await snapshot(source);
    const first = source.current;
    expect(first).toBeDefined();
    const told = next((fn) => source.onDiagnostics(fn));
    await writeFile(file, entry.replace("hosts:", "host:"));
    await told;
    expect(source.diagnostics.map(formatDiagnostic)).toEqual([
      `${file}:4:7: spec.hosts: is missing: a list is needed`,
      `${file}:4:9: spec.host: unknown field, did you mean hosts?`,
    ]);
    expect(source.current).toBe(first);
    const changed = snapshot(source);
    await writeFile(file, entry.replace("10.0.0.1", "10.0.0.2"));
    await changed;
    expect(source.diagnostics).toEqual([]);
    expect(source.current?.version).not.toBe(first?.version);
  } finally {
    await source.close();
    await rm(folder, { recursive: true });
  }
});

test("while a large folder is read others have their turns, and what changes meanwhile comes after it", async () => {
  const folder = await mkdtemp(join(tmpdir(), "trama-configuration-"));
  const many = (address: string): string =>
    Array.from({ length: 400 }, (_, at) =>
      entry.replace("name: a,", `name: a${at},`).replace("[a]", `[a${at}]`).replace("10.0.0.1", address),
    ).join("---\n");
  await writeFile(join(folder, "a.yaml"), many("10.0.0.1"));
  const source = openConfiguration({ folders: [folder], mesh: defaultMesh });
  let turns = 0;
  const turn = setInterval(() => turns++, 1);
  try {
    const versions = new Set<string>();
    source.subscribe(({ version }) => versions.add(version));
    await snapshot(source);
    expect(turns).toBeGreaterThan(0);
    const done = new Promise<void>((resolve) =>
      source.subscribe(({ version }) => version !== [...versions][0] && resolve()),
    );
    await writeFile(join(folder, "b.yaml"), entry);
    await done;
    expect(versions.size).toBe(2);
  } finally {
    clearInterval(turn);
    await source.close();
    await rm(folder, { recursive: true });
  }
});
