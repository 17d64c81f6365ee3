import type { Dispatcher } from "undici";

/** Paths of the requests, one for each route of a service (see `world.ts`), taken in turn. */
export const paths: readonly string[] = Array.from({ length: 10 }, (_, i) => `/api/v1/resource-${i}/items/4711`);

/** A small JSON answer of 128 bytes. */
export const answerBody: Buffer = Buffer.from(JSON.stringify({ id: 4711, text: "x".repeat(107) }));

/** Where a request goes, and by what. */
export interface Target {
  readonly dispatcher: Dispatcher;
  readonly origin: string;
}

/**
 * The application's own part of each request, the same for every subject: `dispatcher.request()`, three header fields, the answer read
 * to its end. `inFlight` loops run side by side, so as many requests are always under way.
 */
export async function requestAll(targets: readonly Target[], requests: number, inFlight: number): Promise<void> {
  let left = requests;
  const loop = async (): Promise<void> => {
    while (left-- > 0) {
      const { dispatcher, origin } = targets[left % targets.length]!;
      const response = await dispatcher.request({
        origin,
        path: paths[left % paths.length]!,
        method: "GET",
        headers: { accept: "application/json", "user-agent": "bench", "x-request-id": "8f1c2a8e-5f0e-4a53-9d5e" },
      });
      const text = await response.body.text();
      if (response.statusCode !== 200 || text.length !== answerBody.length) {
        throw new Error(
          `expected 200 and ${answerBody.length} bytes, got ${response.statusCode}: ${text.slice(0, 200)}`,
        );
      }
    }
  };
  await Promise.all(Array.from({ length: Math.min(inFlight, requests) }, loop));
}
