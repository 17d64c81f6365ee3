/** Keys → endpoints: what ring hash and Maglev have in common. Immutable. */
export interface HashTable {
  /**
   * Index of the endpoint of a 64-bit key. `selection` is 0, or how many endpoints before were not acceptable to a retry: the table
   * then behaves as if those were not there, as far as Envoy's does. `takes`: who of them takes traffic, where the table is older than
   * what is known of that; the others are passed over, and -1 says that there is nobody.
   */
  at(high: number, low: number, selection: number, takes?: (index: number) => boolean): number;
}

/** One endpoint as a table sees it. */
export interface HashMember {
  /** Its address, or what the configuration says instead; a byte string. */
  readonly key: string;
  /** Its share of the whole; they sum up to 1. */
  readonly share: number;
}
