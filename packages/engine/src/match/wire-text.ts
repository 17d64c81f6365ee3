/**
 * Policy is Unicode; a header value is bytes, and Node gives each as one character. What policy says is therefore compared
 * as its UTF-8 bytes, regexes included (Envoy's are of bytes, too): else a rule about `café` would let `café` pass.
 */
export function wireText(text: string): string {
  // oxlint-disable-next-line no-control-regex -- the range is the point
  return /^[\0-\x7f]*$/.test(text) ? text : String.fromCharCode(...new TextEncoder().encode(text));
}
