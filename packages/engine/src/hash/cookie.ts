import type { HashPolicy } from "../config.ts";
import type { HeaderList } from "../headers.ts";

/** The value of a cookie of the request, without its quotes; empty text when there is none. The first of that name wins, as in Envoy. */
export function cookieValue(headers: HeaderList, name: string): string {
  for (const line of headers.all("cookie"))
    for (let at = 0; at < line.length;) {
      let end = line.indexOf(";", at);
      if (end < 0) end = line.length;
      while (line[at] === " ") at++;
      if (line.startsWith(name, at) && line[at + name.length] === "=") {
        const value = line.slice(at + name.length + 1, end).trimEnd();
        return value.length >= 2 && value.startsWith('"') && value.endsWith('"') ? value.slice(1, -1) : value;
      }
      at = end + 1;
    }
  return "";
}

/** As Envoy writes it: always `HttpOnly`, for it is nobody's business but the mesh's. */
export function setCookie(
  { name, path, attributes }: HashPolicy & { kind: "cookie" },
  ttlMs: number,
  value: string,
): string {
  let text = `${name}="${value}"`;
  const seconds = Math.floor(ttlMs / 1000);
  if (seconds > 0) text += `; Max-Age=${seconds}`;
  if (path !== "") text += `; Path=${path}`;
  for (const each of attributes) text += each.value === "" ? `; ${each.name}` : `; ${each.name}=${each.value}`;
  return `${text}; HttpOnly`;
}
