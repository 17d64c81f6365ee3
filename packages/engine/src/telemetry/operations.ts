/** Not told apart: the option is off, or the call is not gRPC. */
export const noOperation = 0;
/** Past the bound, or nobody knows that the method exists (gRFC A66). */
const otherOperation = 1;

/**
 * Names of gRPC methods as numbers, so that a lookup of series compares no text. Bounded: the first `max` keep their names, all others
 * share `other`.
 */
export class Operations {
  readonly #max: number;
  readonly #numbers = new Map<string, number>();
  readonly #names: string[] = ["unknown", "other"];

  /** 0: methods are not told apart. */
  constructor(max: number) {
    this.#max = max;
  }

  get on(): boolean {
    return this.#max > 0;
  }

  /** Of a path; `exists`: whether it may be given a name of its own. */
  numberOf(path: string, exists: boolean): number {
    if (this.#max === 0) return noOperation;
    const known = this.#numbers.get(path);
    if (known !== undefined) return known;
    if (!exists || this.#numbers.size >= this.#max) return otherOperation;
    const number = this.#names.push(path.startsWith("/") ? path.slice(1) : path) - 1;
    this.#numbers.set(path, number);
    return number;
  }

  /** `package.Service/Method`, `other`, or `unknown`. */
  nameOf(number: number): string {
    return this.#names[number]!;
  }
}
