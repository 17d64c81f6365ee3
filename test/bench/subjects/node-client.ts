import type { Agent, ClientRequest, IncomingMessage } from "node:http";
import type { RequestOptions } from "node:https";
import { answerBody, paths } from "./workers.ts";

/** Where a request of `node:http` or `node:https` goes, and by what. */
export interface NodeTarget {
  readonly agent: Agent;
  readonly hostname: string;
  readonly port: number;
  readonly request: (options: RequestOptions, callback: (response: IncomingMessage) => void) => ClientRequest;
}

/** The application's own part of each request by Node's own client, as `workers.ts` has it for undici's. */
export async function requestAll(targets: readonly NodeTarget[], requests: number, inFlight: number): Promise<void> {
  let left = requests;
  const loop = async (): Promise<void> => {
    while (left-- > 0) await one(targets[left % targets.length]!, paths[left % paths.length]!);
  };
  await Promise.all(Array.from({ length: Math.min(inFlight, requests) }, loop));
}

function one({ agent, hostname, port, request }: NodeTarget, path: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const headers = {
      accept: "application/json",
      "user-agent": "bench",
      "x-request-id": "8f1c2a8e-5f0e-4a53-9d5e",
    };
    const sent = request({ agent, hostname, port, path, method: "GET", headers }, (response) => {
      let bytes = 0;
      response.on("data", (chunk: Buffer) => (bytes += chunk.length));
      response.on("end", () => {
        if (response.statusCode === 200 && bytes === answerBody.length) resolve();
        else reject(new Error(`expected 200 and ${answerBody.length} bytes, got ${response.statusCode} and ${bytes}`));
      });
    });
    sent.on("error", reject);
    sent.end();
  });
}
