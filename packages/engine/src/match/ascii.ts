/**
 * Lower case of A–Z only. `toLowerCase` alone would also fold other scripts (the Kelvin sign becomes `k`), and a
 * matcher must not see letters that the peer's parser does not.
 */
export function asciiLower(text: string): string {
  // Most texts of requests are lower case already; those cost no copy.
  for (let at = 0; at < text.length; at++) if (isUpper(text.charCodeAt(at))) return lowered(text);
  return text;
}

function lowered(text: string): string {
  // oxlint-disable-next-line no-control-regex -- the range is the point
  if (/^[\0-\x7f]*$/.test(text)) return text.toLowerCase();
  return text.replace(/[A-Z]+/g, (letters) => letters.toLowerCase());
}

/** Whether `text`, its A–Z folded, has `lower` at this place; `lower` must be folded itself. Makes no copy. */
export function hasAsciiLower(text: string, lower: string, from: number): boolean {
  if (from < 0 || from + lower.length > text.length) return false;
  for (let at = 0; at < lower.length; at++) {
    const code = text.charCodeAt(from + at);
    if ((isUpper(code) ? code | 0x20 : code) !== lower.charCodeAt(at)) return false;
  }
  return true;
}

function isUpper(code: number): boolean {
  return code >= 0x41 && code <= 0x5a;
}
