import type { Call } from "../call.ts";
import type { ResponseFlag } from "../errors.ts";

/** How a call ended, as far as labels tell: packed into one number, so that a lookup compares no text. */
export interface OutcomeLabels {
  readonly protocol: "http" | "grpc";
  readonly status: number;
  /** -1: none. */
  readonly grpcStatus: number;
  readonly flag: ResponseFlag;
  readonly mtls: boolean;
}

const FLAGS: ResponseFlag[] = ["-"];
const FLAG_INDEX = new Map<ResponseFlag, number>([["-", 0]]);

/** Bits of a packed outcome. What a series is further told apart by stands above them, times this. */
export const outcomeRange: number = 2 ** 24;

export function packOutcome({ record, protocol }: Call): number {
  const { flag } = record;
  const status = record.status >= 0 && record.status <= 999 ? record.status : 0;
  // A number that gRPC does not know means UNKNOWN.
  const grpc = record.grpcStatus > 16 ? 2 : record.grpcStatus;
  return (
    status |
    ((flag === "-" ? 0 : indexOf(flag)) << 10) |
    ((grpc + 1) << 16) |
    ((protocol === "grpc" ? 1 : 0) << 22) |
    ((record.mtls ? 1 : 0) << 23)
  );
}

export function unpackOutcome(packed: number): OutcomeLabels {
  return {
    status: packed & 0x3ff,
    flag: FLAGS[(packed >> 10) & 0x3f]!,
    grpcStatus: ((packed >> 16) & 0x3f) - 1,
    protocol: (packed >> 22) & 1 ? "grpc" : "http",
    mtls: ((packed >> 23) & 1) === 1,
  };
}

function indexOf(flag: ResponseFlag): number {
  let index = FLAG_INDEX.get(flag);
  if (index === undefined) {
    index = FLAGS.push(flag) - 1;
    FLAG_INDEX.set(flag, index);
  }
  return index;
}
