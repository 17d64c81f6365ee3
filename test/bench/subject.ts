import { startMeter, type Usage } from "./meter.ts";

/**
 * The process that is measured, or that makes the load, seen from inside: it answers the driver's commands one at a time over IPC.
 * What a subject cannot do it leaves out.
 */
export interface Subject {
  /** Told to the driver when the subject is ready, for instance the port it listens on. */
  readonly ready?: Readonly<Record<string, number>>;
  /** Makes so many requests, so many of them in flight, and throws when an answer is not the expected one. */
  run?(requests: number, inFlight: number): Promise<void>;
  /** Figures of its own, of what it does in this step. */
  figures?(step: string): Promise<Readonly<Record<string, number>>>;
  close(): Promise<void>;
}

export type Command =
  | { readonly op: "run"; readonly requests: number; readonly inFlight: number }
  /** The p50 of so many requests made one after the other. */
  | { readonly op: "latency"; readonly requests: number }
  | { readonly op: "begin" }
  | { readonly op: "end" }
  | { readonly op: "memory" }
  | { readonly op: "figures"; readonly step: string }
  | { readonly op: "close" };

export interface Answer {
  readonly error?: string;
  readonly usage?: Usage;
  readonly p50Us?: number;
  readonly rssBytes?: number;
  readonly figures?: Readonly<Record<string, number>>;
}

/** Runs a subject as this process. The driver going away ends it. */
export async function serveSubject(subject: Subject): Promise<void> {
  let stop: (() => Usage) | undefined;
  const perform = async (command: Command): Promise<Answer> => {
    switch (command.op) {
      case "run":
        await subject.run?.(command.requests, command.inFlight);
        return {};
      case "latency":
        return { p50Us: await medianLatencyUs(subject, command.requests) };
      case "begin":
        stop = startMeter();
        return {};
      case "end":
        return stop === undefined ? { error: "end without begin" } : { usage: stop() };
      case "memory":
        return { rssBytes: process.memoryUsage.rss() };
      case "figures":
        return { figures: (await subject.figures?.(command.step)) ?? {} };
      case "close":
        await subject.close();
        return {};
    }
  };
  process.on("message", (command: Command) => {
    perform(command).then(
      (answer) => {
        process.send?.(answer);
        if (command.op === "close") process.disconnect();
      },
      (error: unknown) => process.send?.({ error: describe(error) } satisfies Answer),
    );
  });
  process.on("disconnect", () => process.exit(0));
  process.send?.({ ready: subject.ready ?? {} });
  await new Promise<void>(() => {});
}

async function medianLatencyUs(subject: Subject, requests: number): Promise<number> {
  const took = new Float64Array(requests);
  for (let i = 0; i < requests; i++) {
    const startMs = performance.now();
    await subject.run?.(1, 1);
    took[i] = (performance.now() - startMs) * 1_000;
  }
  return took.sort()[requests >> 1] ?? NaN;
}

function describe(error: unknown): string {
  return error instanceof Error ? (error.stack ?? error.message) : String(error);
}
