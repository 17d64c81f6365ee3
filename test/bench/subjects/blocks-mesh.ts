import { joinMesh } from "trama";
import { serveSubject } from "../subject.ts";
import { bigHost, hostOf } from "../world.ts";
import { watchTurns } from "./turns.ts";

/** Joins by its environment, and tells how long its event loop is held while the service of 10,000 endpoints comes and changes. */
const mesh = await joinMesh();
// A small service at whose port nobody listens either: what belongs to the first configuration and the first connection of a process,
// and not to a large service, is over then.
await call(`http://${hostOf(0)}:8080`);

await serveSubject({
  async figures(step) {
    const before = bigVersion();
    const stop = watchTurns();
    if (step === "arrive") await call(`http://${bigHost}:8080`);
    while (bigVersion() === before) await pause(20);
    await pause(300);
    return stop();
  },
  close: () => mesh.close({ deadlineMs: 1_000 }),
});

/** Nobody listens at these endpoints. */
async function call(origin: string): Promise<void> {
  try {
    const { body } = await mesh.dispatcher.request({ origin, path: "/api/v1/resource-0/", method: "GET" });
    await body.dump();
  } catch {
    // That is the expected answer.
  }
}

function bigVersion(): string {
  const held = mesh.status().resources.find(({ type, name }) => type === "endpoint" && name.includes(`||${bigHost}`));
  return held?.version ?? "";
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
