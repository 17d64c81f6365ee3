import http from "node:http";
import type { AddressInfo } from "node:net";
import { joinMesh, type Mesh } from "trama";
import { protect } from "trama/http";
import { answer, failureOf, ready, type Failure } from "../harness/rpc.ts";

/** A process that tries to join a mesh under bad circumstances, step by step, and tells how that went. */

export type JoinOptions = NonNullable<Parameters<typeof joinMesh>[0]>;

export interface Outcome {
  /** Absent: it worked. */
  readonly failure?: Failure;
  readonly tookMs: number;
}

let mesh: Mesh | undefined;
let handled = 0;

async function outcome(step: () => Promise<unknown>): Promise<Outcome> {
  const startMs = performance.now();
  try {
    await step();
    return { tookMs: performance.now() - startMs };
  } catch (error) {
    return { failure: failureOf(error), tookMs: performance.now() - startMs };
  }
}

const methods = {
  join: (options: JoinOptions): Promise<Outcome> =>
    outcome(async () => {
      mesh = await joinMesh(options);
    }),
  listen: async (): Promise<number> => {
    const server = protect(
      mesh!,
      http.createServer((_request, response) => {
        handled++;
        response.end("handled");
      }),
    );
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    return (server.address() as AddressInfo).port;
  },
  ready: (): Promise<Outcome> => outcome(() => mesh!.ready()),
  fetch: (url: string): Promise<Outcome> => outcome(async () => (await mesh!.fetch(url)).text()),
  handled: (): number => handled,
  /** From here on only what the mesh left behind can keep this process alive. */
  letGo: (): void => process.channel?.unref(),
  close: (): Promise<Outcome> => outcome(() => mesh!.close({ deadlineMs: 1_000 })),
};
export type JoinMethods = typeof methods;

answer(methods);
ready();
