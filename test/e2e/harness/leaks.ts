import { expect } from "vitest";
import { started } from "./program.ts";
import { until } from "./until.ts";

/** Kinds of handles that a test file may not leave behind in its own process. */
const kinds = new Set([
  "TCPSocketWrap",
  "TCPServerWrap",
  "TLSWrap",
  "ProcessWrap",
  "TCPConnectWrap",
  "HTTPINCOMINGMESSAGE",
]);

/** At the end of a file: no process that it started is alive, no socket or server is open. */
export async function expectNoLeaks(): Promise<void> {
  const alive = started.filter(({ child }) => child.exitCode === null && child.signalCode === null);
  for (const { child } of alive) child.kill("SIGKILL");
  expect(
    alive.map(({ name, pid }) => `${name} (${pid})`),
    "processes still alive at the end of the file",
  ).toEqual([]);
  let open: string[] = [];
  await until(
    "no open sockets or servers",
    () => {
      open = process.getActiveResourcesInfo().filter((kind) => kinds.has(kind));
      return open.length === 0;
    },
    5_000,
  ).catch(() => {});
  expect(open, "handles left open in the test process").toEqual([]);
}
