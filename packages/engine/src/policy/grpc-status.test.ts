import { describe, expect, it } from "vitest";
import { MeshError, meshErrorCodes } from "../errors.ts";
import type { MeshErrorCode } from "../errors.ts";
import { grpcStatusOfError } from "./grpc-status.ts";

describe("the status of a gRPC call that brought no answer", () => {
  it("R69: only codes that a library may produce", () => {
    const seen = Object.keys(meshErrorCodes).map((code) => grpcStatusOfError(new MeshError(code as MeshErrorCode, "")));
    for (const status of seen) expect([1, 4, 7, 13, 14]).toContain(status);
  });

  it.each<[MeshErrorCode, number]>([
    ["NO_ROUTE", 14],
    ["NO_CLUSTER", 14],
    ["OVERFLOW", 14],
    ["RESET", 14],
    ["TIMEOUT", 4],
    ["ABORTED", 1],
    ["DENIED", 7],
    ["PROTOCOL_ERROR", 13],
  ])("%s is %d", (code, status) => expect(grpcStatusOfError(new MeshError(code, ""))).toBe(status));

  it("a reset stream carries a reason of its own", () => {
    expect(grpcStatusOfError(new MeshError("RESET", "", { grpcStatus: 8 }))).toBe(8);
  });
});
