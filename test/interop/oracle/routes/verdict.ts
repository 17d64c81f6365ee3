/** What became of a request, in words that both sides can say. */
export type Verdict =
  | {
      readonly kind: "forwarded";
      readonly route: string;
      readonly cluster: string;
      readonly method: string;
      readonly target: string;
      readonly host: string;
      /** `name: value` in order of names; several of one name in their own order. */
      readonly headers: readonly string[];
      readonly answer: readonly string[];
    }
  | {
      readonly kind: "answered";
      readonly route: string;
      readonly status: number;
      readonly body: string;
      readonly answer: readonly string[];
    }
  | { readonly kind: "no cluster"; readonly route: string }
  | { readonly kind: "no route" }
  /** Anything that the other side cannot say: always a difference. */
  | { readonly kind: "odd"; readonly text: string };

/** A canonical form of what goes upstream: names in lower case and in order, white space around a value not counted (RFC 9110 §5.5). */
export function headerLines(flat: readonly string[]): string[] {
  const lines: { name: string; line: string }[] = [];
  for (let i = 0; i < flat.length; i += 2) {
    const name = flat[i]!.toLowerCase();
    lines.push({ name, line: `${name}: ${flat[i + 1]!.trim()}` });
  }
  return lines.toSorted((a, b) => (a.name < b.name ? -1 : a.name > b.name ? 1 : 0)).map(({ line }) => line);
}

/** Of an answer what a route decides about: where it redirects to, and the fields that policy writes. */
export function answerLines(flat: readonly string[]): string[] {
  return headerLines(flat).filter(
    (line) => /^(?:location|x-[abcd]|content-type|access-control-[a-z-]+): /.test(line) && !line.endsWith("json"),
  );
}

/** Envoy does not tell whose the answer to a preflight is; so it is not compared of anything that looks like one. */
export function answered(route: string, status: number, body: string, answer: readonly string[]): Verdict {
  return { kind: "answered", route: status === 200 && body === "" ? "" : route, status, body, answer };
}
