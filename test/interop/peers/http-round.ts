import type { Round } from "./rounds.ts";

/** A call by path; resolves to status and text. */
export type Call = (path: string) => Promise<{ readonly status: number; readonly body: string }>;

/** The round of the gRPC programs over HTTP: the same two methods, and 403 for "denied". */
export async function oneRound(calls: number, call: Call): Promise<Round> {
  const attempt = (path: string): ReturnType<Call> =>
    call(path).catch((error: unknown) => ({ status: 0, body: String(error) }));
  const say: Record<string, number> = {};
  const errors: Record<string, number> = {};
  for (let n = 0; n < calls; n++) {
    const { status, body } = await attempt("/demo.Echo/Say");
    const [answers, what] = status === 200 ? [say, body] : [errors, `${status} ${body}`];
    answers[what] = (answers[what] ?? 0) + 1;
  }
  const { status, body } = await attempt("/demo.Echo/Secret");
  return { say, errors, secret: status === 403 ? `PERMISSION_DENIED: 403 ${body}` : `${status} ${body}` };
}
