/** All entries under one literal, and the next shorter literal that is a prefix of this one. */
export interface PrefixNode<E> {
  readonly literal: string;
  readonly entries: E[];
  parent: PrefixNode<E> | undefined;
}

/**
 * Finds the literals that a text begins with, among many, without trying them in turn. Literals are kept sorted. The
 * longest one that `text` begins with is either the greatest that is not above `text`, or one that this one begins with
 * in its turn; so a binary search and a climb along `parent` find it, and the rest of the climb are all the shorter ones.
 */
export class PrefixIndex<E> {
  readonly #nodes: PrefixNode<E>[];

  constructor(entries: readonly { readonly literal: string; readonly entry: E }[]) {
    const byLiteral = new Map<string, PrefixNode<E>>();
    for (const { literal, entry } of entries) {
      const node = byLiteral.get(literal);
      if (node !== undefined) node.entries.push(entry);
      else byLiteral.set(literal, { literal, entries: [entry], parent: undefined });
    }
    this.#nodes = [...byLiteral.values()].sort((a, b) => (a.literal < b.literal ? -1 : 1));
    // In this order the literals that one begins with are those that are still open when it comes.
    let open: PrefixNode<E> | undefined;
    for (const node of this.#nodes) {
      while (open !== undefined && !node.literal.startsWith(open.literal)) open = open.parent;
      node.parent = open;
      open = node;
    }
  }

  /** The node of the longest literal that `text` begins with; its parents hold the shorter ones. */
  longest(text: string): PrefixNode<E> | undefined {
    let low = 0;
    let high = this.#nodes.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.#nodes[middle]!.literal <= text) low = middle + 1;
      else high = middle;
    }
    let node = this.#nodes[low - 1];
    while (node !== undefined && !text.startsWith(node.literal)) node = node.parent;
    return node;
  }
}
