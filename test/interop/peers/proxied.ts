import { request } from "node:http";

import type { Context } from "../peer.ts";
import { type Call, oneRound } from "./http-round.ts";
import { until } from "./plane.ts";
import { echoHost, echoPort } from "./policy.ts";
import { answered, isShared, type Round } from "./rounds.ts";

/** Of a round. */
export const calls = 100;

/** As an application does that has `HTTP_PROXY` set. */
export function proxied(outbound: string, path: string): ReturnType<Call> {
  const [host, port] = outbound.split(":");
  return new Promise((resolve, reject) => {
    const outgoing = request(
      // A name that the sidecar must take off: only the mesh itself may say such a thing.
      {
        host,
        port,
        path: `http://${echoHost}:${echoPort}${path}`,
        headers: { host: `${echoHost}:${echoPort}`, "x-trama-peer": "forged" },
      },
      (response) => {
        let body = "";
        response.setEncoding("utf8").on("data", (chunk: string) => (body += chunk));
        response.on("end", () => resolve({ status: response.statusCode ?? 0, body }));
      },
    );
    outgoing.on("error", reject);
    outgoing.end();
  });
}

/** Rounds of calls until one is as the weights say. */
export async function shared(context: Context, call: Call, weight: number): Promise<Round> {
  let last: Round | undefined;
  try {
    return await until(context, `${weight} : ${100 - weight}`, async () => {
      last = await oneRound(calls, call);
      return isShared(last, calls, weight) ? last : undefined;
    });
  } catch (error) {
    throw new Error(`${(error as Error).message}; last: ${JSON.stringify(last)}`, { cause: error });
  }
}

export function text(round: Round): string {
  return `${answered(round, "v1")} : ${answered(round, "v2")}`;
}
