/**
 * The one reading of a request path that authorization compares (dataplane.md §23 rule 1). Frameworks disagree about what
 * `/a/../admin`, `//admin`, `/%61dmin` or `/admin;x` mean; policy that looked at the raw text alone could be walked
 * around by spelling. Canonical texts are fixed points: canonicalising twice changes nothing.
 */
export type CanonicalPath =
  | {
      readonly ok: true;
      readonly path: string;
      /** From `?` on, that included; empty when there is none. */ readonly query: string;
    }
  | {
      readonly ok: false;
      /** What is wrong, in words for the log; nothing of the request is quoted. */ readonly reason: string;
    };

/** Canonicalises the target of a request in origin form (`*` only for OPTIONS). Anything ambiguous is refused with a reason. */
export function canonicalPath(target: string, method?: string): CanonicalPath {
  if (isCanonical(target)) return { ok: true, path: target, query: "" };
  const mark = target.indexOf("?");
  const raw = mark < 0 ? target : target.slice(0, mark);
  const query = mark < 0 ? "" : target.slice(mark);
  if (target === "*" && method === "OPTIONS") return { ok: true, path: "*", query: "" };
  if (raw.charCodeAt(0) !== SLASH) return refuse("the request target is not in origin form");
  if (FRAGMENT_OR_CONTROL.test(query)) return refuse("a fragment or a control character in the query");
  const fault = faultOf(raw);
  if (fault !== undefined) return refuse(fault);
  return { ok: true, path: PLAIN.test(raw) ? raw : removeDots(segmentsOf(normaliseTriplets(raw))), query };
}

function refuse(reason: string): CanonicalPath {
  return { ok: false, reason };
}

/**
 * Whether a target is canonical as it stands and has no query, as most are: seen in one pass and without an object. Says no to some
 * that are, such as those with a segment that begins with a dot; those are read with care.
 */
export function isCanonical(target: string): boolean {
  if (target.charCodeAt(0) !== SLASH) return false;
  let afterSlash = false;
  for (let at = 0; at < target.length; at++) {
    const code = target.charCodeAt(at);
    if (code >= 0x7f || PLAIN_CHARACTERS[code] !== 1) return false;
    if (afterSlash && (code === SLASH || code === DOT)) return false;
    afterSlash = code === SLASH;
  }
  return true;
}

const SLASH = 0x2f;
const DOT = 0x2e;
/** Visible ASCII, but for what begins a query or a fragment, a triplet or a parameter, and the backslash. */
const PLAIN_CHARACTERS: Uint8Array = Uint8Array.from({ length: 0x7f }, (_, code) =>
  code > 0x20 && !"?#%;\\".includes(String.fromCharCode(code)) ? 1 : 0,
);
// oxlint-disable-next-line no-control-regex -- control characters are what is looked for
const FRAGMENT_OR_CONTROL = /[#\0-\x1f\x7f]/;
/** No triplets, parameters, empty or dot segments: canonical already, as nearly every path is. */
const PLAIN = /^(?:\/(?!\.{1,2}(?:\/|$))[^/%;]+)*\/?$/;

/** What a path may not hold, because peers read it in different ways. */
function faultOf(path: string): string | undefined {
  if (path.includes("#")) return "a fragment in the request target";
  if (path.includes("\\")) return "a backslash in the path";
  if (/[^!-~]/.test(path)) return "a space, control or non-ASCII character in the path";
  if (!path.includes("%")) return undefined;
  if (/%(?![0-9a-fA-F]{2})/.test(path)) return "an incomplete percent-encoding in the path";
  if (/%(?:00|2[fF]|5[cC])/.test(path)) return "an encoded NUL, slash or backslash in the path";
  // Runs of encoded high bytes must be UTF-8 by themselves; decodeURIComponent refuses overlong forms and surrogates.
  for (const [run] of path.matchAll(/(?:%[89a-fA-F][0-9a-fA-F])+/g)) {
    try {
      decodeURIComponent(run);
    } catch {
      return "percent-encoded bytes in the path that are not UTF-8";
    }
  }
  return undefined;
}

/** Decodes unreserved characters, once, and writes the other triplets in upper case (RFC 3986, 6.2.2). */
function normaliseTriplets(path: string): string {
  return path.replace(/%[0-9a-fA-F]{2}/g, (triplet) => {
    const char = String.fromCharCode(Number.parseInt(triplet.slice(1), 16));
    return /[A-Za-z0-9._~-]/.test(char) ? char : triplet.toUpperCase();
  });
}

/** Segments without their `;` parameters. A segment that held nothing else is an empty one. */
function segmentsOf(path: string): string[] {
  return path
    .slice(1)
    .split("/")
    .map((segment) => {
      const parameters = segment.indexOf(";");
      return parameters < 0 ? segment : segment.slice(0, parameters);
    });
}

/** Merges slashes and removes dot segments; whether the path ends in a slash is kept (RFC 3986, 5.2.4). */
function removeDots(segments: readonly string[]): string {
  const out: string[] = [];
  for (const segment of segments) {
    if (segment === "..") out.pop();
    else if (segment !== "" && segment !== ".") out.push(segment);
  }
  const last = segments[segments.length - 1];
  const open = last === "" || last === "." || last === "..";
  return out.length === 0 ? "/" : `/${out.join("/")}${open ? "/" : ""}`;
}
