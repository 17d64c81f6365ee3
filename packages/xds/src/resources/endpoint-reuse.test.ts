import { create, toBinary } from "@bufbuild/protobuf";
import type { EndpointSet } from "@trama/engine";
import { ClusterLoadAssignmentSchema } from "@trama/proto/envoy/config/endpoint/v3/endpoint_pb.js";
import * as fc from "fast-check";
import { expect, test } from "vitest";

import { locality } from "../../../../test/kit/xds-resources.ts";
import { plain } from "../../test/plain-endpoints.ts";
import { endpointType } from "./endpoint.ts";
import { ResourceError } from "./error.ts";

const options = { regex: () => undefined, certificateProviders: new Set<string>() };

interface Place {
  readonly address: string;
  readonly port: number;
  readonly weight?: number;
  readonly workload?: string;
}

const host = (number: number): string => `10.${(number >> 16) & 255}.${(number >> 8) & 255}.${number & 255}`;
const places = (count: number, from = 0): Place[] =>
  Array.from({ length: count }, (_, at) => ({ address: host(from + at), port: 80, workload: `w-${from + at}` }));

function bytesOf(zones: readonly (readonly Place[])[]): Uint8Array {
  const endpoints = zones.map((each, at) => locality([...each], { locality: { zone: `z${at}` } as never }));
  return toBinary(ClusterLoadAssignmentSchema, create(ClusterLoadAssignmentSchema, { clusterName: "c", endpoints }));
}

const read = (bytes: Uint8Array, before?: EndpointSet): EndpointSet =>
  endpointType.decode(bytes, options, before).value;
const listed = (set: EndpointSet) => set.priorities.flat().flatMap((each) => each.endpoints);

test("R14: of a large assignment only what changed is another object", () => {
  const zone = places(1_000);
  const before = read(bytesOf([zone]));
  const after = read(bytesOf([zone.with(400, { address: "172.16.100.100", port: 8_080 })]), before);
  const [was, is] = [listed(before), listed(after)];
  expect(is[400]).toMatchObject({ address: "172.16.100.100:8080" });
  for (let at = 0; at < 1_000; at++) if (at !== 400) expect(is[at]).toBe(was[at]);
  // And once more, on what was taken over.
  const last = listed(read(bytesOf([zone.toSpliced(400, 1)]), after));
  expect(last).toHaveLength(999);
  for (let at = 0; at < 999; at++) expect(last[at]).toBe(was[at < 400 ? at : at + 1]);
});

test("it is read in slices, so that others may run in between", () => {
  const slices = endpointType.slices!(bytesOf([places(1_000)]), options);
  let turns = 0;
  let step = slices.next();
  for (; step.done !== true; step = slices.next()) turns++;
  expect(turns).toBe(63);
  expect(listed(step.value.value)).toHaveLength(1_000);
});

type Edit = readonly [kind: number, zone: number, at: number, other: number];

/** Whatever may become of an assignment; some edits make an address appear twice. */
function edited(zones: readonly (readonly Place[])[], [kind, zone, at, other]: Edit): Place[][] {
  const copy = zones.map((each) => [...each]);
  const mine = copy[zone % copy.length] ?? [];
  const index = at % Math.max(1, mine.length);
  const place = mine[index] ?? { address: host(other), port: 80 };
  if (kind === 0) mine[index] = { address: host(other), port: 81 };
  else if (kind === 1) mine.splice(index, 1 + (other % 3));
  else if (kind === 2) mine.splice(index, 0, { address: host(other), port: 82 }, { address: host(other), port: 83 });
  else if (kind === 3) mine[index] = { ...place, weight: 2 + (other % 5) };
  else if (kind === 4) mine.splice(other % (mine.length + 1), 0, ...mine.splice(index, 1));
  else if (kind === 5) copy.splice(zone % copy.length, 1);
  else if (kind === 6) copy.push([{ address: host(other), port: 84 }]);
  else if (kind === 7) copy.reverse();
  else mine.push(copy[other % Math.max(1, copy.length)]?.[0] ?? place);
  return copy;
}

test("what is read over the one before is what is read alone, or refused like it (R43)", () => {
  const nat = fc.nat(20_000);
  fc.assert(
    fc.property(
      fc.array(fc.array(fc.tuple(fc.nat(8), nat, nat, nat), { maxLength: 3 }), { maxLength: 5 }),
      (rounds) => {
        let zones: Place[][] = [places(170), places(100, 10_000)];
        let before = read(bytesOf(zones));
        for (const edits of rounds) {
          let next = zones;
          for (const edit of edits) next = edited(next, edit);
          const bytes = bytesOf(next);
          const alone = outcome(bytes);
          const over = outcome(bytes, before);
          expect(typeof over === "string" ? over : plain(over)).toEqual(
            typeof alone === "string" ? alone : plain(alone),
          );
          if (typeof over === "string") continue;
          before = over;
          zones = next;
        }
      },
    ),
    { numRuns: 20, seed: 43 },
  );
});

function outcome(bytes: Uint8Array, before?: EndpointSet): EndpointSet | string {
  try {
    return read(bytes, before);
  } catch (error) {
    expect(error).toBeInstanceOf(ResourceError);
    return (error as Error).message;
  }
}
