/**
 * Lower case of A–Z only. `toLowerCase` alone would also fold other scripts (the Kelvin sign becomes `k`), and a
 * matcher must not see letters that the peer's parser does not.
 */
export function asciiLower(text: string): string {
  // oxlint-disable-next-line no-control-regex -- the range is the point
  if (/^[\0-\x7f]*$/.test(text)) return text.toLowerCase();
  return text.replace(/[A-Z]+/g, (letters) => letters.toLowerCase());
}
