import type { Call } from "../../call.ts";
import type { MaglevConfig, RingHashConfig } from "../../config.ts";
import type { Clock, Timer } from "../../env.ts";
import { wireText } from "../../match/wire-text.ts";
import { inParts, someOf } from "../../slices.ts";
import type { Sliced } from "../../slices.ts";
import type { ClusterState } from "../../state.ts";
import type { Dice } from "../dice.ts";
import { takesTraffic } from "../endpoint.ts";
import type { Endpoint } from "../endpoint.ts";
import type { Picker } from "../picker.ts";
import { BoundedLoad } from "./bounded-load.ts";
import type { HashMember, HashTable } from "./hash-table.ts";
import { Maglev } from "./maglev.ts";
import { Ring } from "./ring.ts";

/** The endpoints of a locality that are to be picked from, and its weight. */
export interface HashedLocality {
  readonly weight: number;
  readonly ready: readonly Endpoint[];
}

/** A table, and what it was made of. */
interface Built {
  readonly localities: readonly HashedLocality[];
  readonly endpoints: readonly Endpoint[];
  readonly table: HashTable;
  /** By index in `endpoints`. */
  readonly takes: (index: number) => boolean;
}

/** A ring of so many points, or a table of so many entries, is made at once when somebody's health changes: in a millisecond or two. */
const few = 1_024;

/** How long a part of a table's making may hold the event loop. */
const partMs = 2;

/**
 * Consistent hashing over all localities of a priority at once (R45): each endpoint's share is that of its locality times its own
 * inside it. A call without a key goes to a random place of the same table, as in Envoy and gRPC.
 *
 * When the health of one of thousands changes, making the table anew would hold the event loop for some ten milliseconds, and yet no pick
 * may meet who was barred before it. So the old table stays until the new one has been made, a part at a time, and meanwhile who takes
 * no traffic is passed over. On a ring of equal weights that is already the pick of the new one. (An Envoy's workers have the old table
 * without passing over, until the new one reaches them.)
 */
export class Hashing {
  readonly #config: RingHashConfig | MaglevConfig;
  readonly #cluster: Pick<ClusterState, "requests">;
  readonly #dice: Dice;
  readonly #clock: Clock;
  readonly #picker: Picker = { pick: (call, selection = 0) => this.#pick(call, selection) };
  #built: Built | undefined = undefined;
  /** What the table ought to be of; it is, unless it is being made. */
  #localities: readonly HashedLocality[] = [];
  /** All are picked from, whatever is known of them. */
  #panic = false;
  #making: Sliced<Built> | undefined = undefined;
  #next: Timer | undefined = undefined;
  #closed = false;

  constructor(
    config: RingHashConfig | MaglevConfig,
    cluster: Pick<ClusterState, "requests">,
    dice: Dice,
    clock: Clock,
  ) {
    this.#config = config;
    this.#cluster = cluster;
    this.#dice = dice;
    this.#clock = clock;
  }

  /** The picker over these from now on; at least one is ready. `panic`: they are all that there are. */
  *over(localities: readonly HashedLocality[], panic: boolean): Sliced<Picker> {
    const built = this.#built;
    if (built === undefined || (this.#isLittle(localities) && !same(built.localities, localities))) {
      this.#stop();
      this.#built = yield* this.#make(localities);
    }
    this.#localities = localities;
    this.#panic = panic;
    if (same(this.#built!.localities, localities)) this.#stop();
    else this.#goOn();
    return this.#picker;
  }

  /** Whether the picker is over these as it is. */
  isOver(localities: readonly HashedLocality[], panic: boolean): boolean {
    return this.#panic === panic && same(this.#localities, localities);
  }

  /** Nothing is made any more. What is there goes on passing over who takes no traffic. */
  close(): void {
    this.#closed = true;
    this.#stop();
  }

  #pick(call: Call, selection: number): Endpoint {
    const { endpoints, table, takes } = this.#built!;
    const { key } = call;
    const passes = this.#late && !this.#panic ? takes : undefined;
    const at =
      key?.known(call) === true
        ? table.at(key.high, key.low, selection, passes)
        : // The place is drawn anew with each selection anyway.
          table.at(this.#dice.next(), this.#dice.next(), 0, passes);
    return at === -1 ? this.#any() : endpoints[at]!;
  }

  /** Nobody of those in the table takes traffic any more, but somebody who is not in it. */
  #any(): Endpoint {
    let at = this.#dice.below(this.#localities.reduce((sum, { ready }) => sum + ready.length, 0));
    for (const { ready } of this.#localities) {
      if (at < ready.length) return ready[at]!;
      at -= ready.length;
    }
    return this.#localities[0]!.ready[0]!;
  }

  #isLittle(localities: readonly HashedLocality[]): boolean {
    const config = this.#config;
    const size = config.kind === "maglev" ? config.tableSize : config.minSize;
    return (
      Math.max(
        size,
        localities.reduce((sum, { ready }) => sum + ready.length, 0),
      ) <= few
    );
  }

  *#make(localities: readonly HashedLocality[]): Sliced<Built> {
    const config = this.#config;
    const endpoints = localities.length === 1 ? localities[0]!.ready : localities.flatMap(({ ready }) => ready);
    const members = yield* shares(localities);
    let table: HashTable =
      config.kind === "ring_hash"
        ? yield* Ring.of(members, config.minSize, config.maxSize)
        : yield* Maglev.of(members, config.tableSize);
    if (config.balanceFactor !== undefined)
      table = new BoundedLoad(table, endpoints, members, config.balanceFactor, this.#cluster);
    return { localities, endpoints, table, takes: (index) => takesTraffic(endpoints[index]!) };
  }

  get #late(): boolean {
    return this.#making !== undefined || this.#closed;
  }

  /** One that is under way is ended first, for a stream of changes must not keep all of them out. */
  #goOn(): void {
    if (this.#closed) return;
    this.#making ??= this.#make(this.#localities);
    this.#next ??= this.#clock.after(0, () => this.#part());
  }

  #part(): void {
    this.#next = undefined;
    const { done, value } = someOf(this.#making!, () => this.#clock.now(), partMs);
    if (done === true) {
      this.#built = value;
      this.#making = undefined;
    }
    if (done !== true || !same(this.#built!.localities, this.#localities)) this.#goOn();
  }

  #stop(): void {
    this.#next?.cancel();
    this.#next = undefined;
    this.#making = undefined;
  }
}

function same(a: readonly HashedLocality[], b: readonly HashedLocality[]): boolean {
  return (
    a.length === b.length && a.every(({ weight, ready }, at) => b[at]!.weight === weight && b[at]!.ready === ready)
  );
}

/** The order of the operations is Envoy's: how a ring comes out may depend on the last bit. */
function* shares(localities: readonly HashedLocality[]): Sliced<HashMember[]> {
  const whole = localities.reduce((sum, { weight }) => sum + weight, 0);
  const members: HashMember[] = [];
  for (const { weight, ready } of localities) {
    const part = weight / whole;
    let sum = 0;
    yield* inParts(ready.length, (from, to) => {
      for (let at = from; at < to; at++) sum += ready[at]!.config.weight;
    });
    yield* inParts(ready.length, (from, to) => {
      for (let at = from; at < to; at++) {
        const { config } = ready[at]!;
        members.push({ key: wireText(config.hashKey ?? config.address), share: (config.weight * part) / sum });
      }
    });
  }
  return members;
}
