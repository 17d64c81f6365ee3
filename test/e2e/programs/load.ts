/** What a client saw of its own requests. */
export interface Tally {
  sent: number;
  /** Answers by status. */
  readonly statuses: Record<string, number>;
  /** Good answers by the version that gave them. */
  readonly versions: Record<string, number>;
  /** Requests without an answer. */
  failed: number;
  /** The first few of them, and of the answers that were not 2xx. */
  readonly reasons: string[];
}

export interface LoadOptions {
  readonly url: string;
  readonly method?: string;
  readonly headers?: Readonly<Record<string, string>>;
  /** Bytes of body. */
  readonly bodyBytes?: number;
  /** Requests a second, at planned times: a slow answer delays nobody behind it. Default: as fast as answers come. */
  readonly perSecond?: number;
  /** Requests at a time. Default 8. */
  readonly concurrency?: number;
  /** Ends after so many; default: when stopped. */
  readonly count?: number;
}

export type Fetch = (url: string, init?: RequestInit) => Promise<Response>;

export function emptyTally(): Tally {
  return { sent: 0, statuses: {}, versions: {}, failed: 0, reasons: [] };
}

export interface Load {
  readonly tally: Tally;
  /** No more requests; settles when the last one has its answer. */
  stop(): Promise<Tally>;
  readonly done: Promise<Tally>;
}

const keptReasons = 12;

export function load(fetch: Fetch, options: LoadOptions): Load {
  const tally = emptyTally();
  const count = options.count ?? Infinity;
  const startMs = performance.now();
  let stopped = false;

  const worker = async (): Promise<void> => {
    while (!stopped && tally.sent < count) {
      const planned = tally.sent++;
      if (options.perSecond !== undefined) {
        const waitMs = startMs + (planned * 1_000) / options.perSecond - performance.now();
        if (waitMs > 1) await new Promise((resolve) => setTimeout(resolve, waitMs));
      }
      await one(fetch, options, tally);
    }
  };
  const done = Promise.all(Array.from({ length: options.concurrency ?? 8 }, worker)).then(() => tally);
  return {
    tally,
    done,
    stop() {
      stopped = true;
      return done;
    },
  };
}

async function one(fetch: Fetch, options: LoadOptions, tally: Tally): Promise<void> {
  const { method = "GET", bodyBytes = 0 } = options;
  try {
    const response = await fetch(options.url, {
      method,
      ...(options.headers === undefined ? {} : { headers: options.headers }),
      ...(bodyBytes === 0 ? {} : { body: "x".repeat(bodyBytes) }),
    });
    const text = await response.text();
    tally.statuses[response.status] = (tally.statuses[response.status] ?? 0) + 1;
    if (response.ok) {
      const version = response.headers.get("x-version") ?? "none";
      tally.versions[version] = (tally.versions[version] ?? 0) + 1;
    } else if (tally.reasons.length < keptReasons) {
      tally.reasons.push(`${at()} ${response.status} ${text.slice(0, 200)}`);
    }
  } catch (error) {
    tally.failed++;
    if (tally.reasons.length < keptReasons) tally.reasons.push(`${at()} ${chain(error)}`);
  }
}

/** When it happened, to be laid beside what the test did. */
function at(): string {
  return new Date().toISOString().slice(11, 23);
}

export function chain(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const code = (error as { code?: unknown }).code;
  const text = `${error.name}${typeof code === "string" ? ` ${code}` : ""}: ${error.message}`;
  return error.cause === undefined ? text : `${text} ← ${chain(error.cause)}`;
}
