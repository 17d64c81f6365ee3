import type { Dispatcher } from "undici";

/** Where an application wants to go, as the mesh names it. */
export interface Destination {
  /** `host:port`, lower case: the name of the outbound listener. */
  readonly listener: string;
  /** What goes into the Host field: without the port when it is the scheme's own. */
  readonly host: string;
  readonly scheme: "http" | "https";
  /** A sidecar does not see loopback traffic either. */
  readonly loopback: boolean;
}

const maxKept = 1_000;

/** Origins are few and parsing one costs more than everything else the adapter does: keeps the newest thousand. */
export class Destinations {
  readonly #kept = new Map<string, Destination>();

  /** Throws a TypeError for what is not an http or https origin. */
  of(origin: Dispatcher.DispatchOptions["origin"]): Destination {
    const text = typeof origin === "string" ? origin : String(origin);
    const kept = this.#kept.get(text);
    if (kept !== undefined) return kept;
    const destination = parse(text);
    if (this.#kept.size >= maxKept) this.#kept.delete(this.#kept.keys().next().value!);
    this.#kept.set(text, destination);
    return destination;
  }
}

function parse(origin: string): Destination {
  const url = new URL(origin);
  if (url.protocol !== "http:" && url.protocol !== "https:")
    throw new TypeError(`the mesh speaks http and https, not ${url.protocol}`);
  const port = url.port !== "" ? url.port : url.protocol === "https:" ? "443" : "80";
  const hostname = url.hostname.endsWith(".") ? url.hostname.slice(0, -1) : url.hostname;
  const scheme = url.protocol === "https:" ? "https" : "http";
  return { listener: `${hostname}:${port}`, host: url.host, scheme, loopback: isLoopback(hostname) };
}

/** By a name in the form that URL gives it: IPv6 in brackets, every spelling of an address in its canonical one. */
export function isLoopback(hostname: string): boolean {
  return (
    hostname === "localhost" ||
    hostname.endsWith(".localhost") ||
    hostname === "[::1]" ||
    /^127(?:\.\d{1,3}){3}$/.test(hostname)
  );
}
