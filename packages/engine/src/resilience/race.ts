import type { Abortable, Call } from "../call.ts";
import type { Timer } from "../env.ts";
import { MeshError } from "../errors.ts";

/** A try that has company. */
export interface Runner extends Abortable {
  /** Another answered first, or the call is over: ends without a word to the caller. */
  lose(reason: MeshError): void;
}

/**
 * The tries of one hedged call that are under way side by side. The first that has an answer for the caller wins, and the
 * others are cut; one that fails leaves silently as long as another runs, and the last one speaks for all. Stands in
 * `call.active` until there is a winner.
 */
export class Race implements Abortable {
  readonly #call: Call;
  readonly #runners: Runner[] = [];
  #timer: Timer | undefined = undefined;

  constructor(call: Call) {
    this.#call = call;
    call.active = this;
  }

  enter(runner: Runner): void {
    this.#runners.push(runner);
  }

  /** Takes over what waits for the newest try to be slow. */
  wait(timer: Timer | undefined): void {
    this.#timer?.cancel();
    this.#timer = timer;
  }

  leave(runner: Runner): void {
    const at = this.#runners.indexOf(runner);
    if (at >= 0) this.#runners.splice(at, 1);
    if (this.#runners.length > 0) return;
    this.wait(undefined);
    if (this.#call.active === this) this.#call.active = undefined;
  }

  hasOthers(runner: Runner): boolean {
    return this.#runners.some((each) => each !== runner);
  }

  win(runner: Runner): void {
    this.wait(undefined);
    this.#call.active = runner;
    let lost: MeshError | undefined;
    for (const each of this.#runners.splice(0)) {
      if (each === runner) continue;
      lost ??= new MeshError("ABORTED", "another attempt answered first", { sent: true });
      each.lose(lost);
    }
  }

  abort(reason: MeshError): void {
    this.wait(undefined);
    const all = this.#runners.splice(0);
    const last = all.pop();
    for (const each of all) each.lose(reason);
    last?.abort(reason);
  }
}
