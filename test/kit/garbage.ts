import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";

/** A whole collection, now: garbage that nobody has collected yet says nothing of what is held. */
export function collectGarbage(): void {
  setFlagsFromString("--expose-gc");
  (runInNewContext("gc") as () => void)();
}
