import type { EndpointConfig } from "@trama/engine";

/** What many endpoints of an assignment have in common: one object of it does for all of them. */
export interface EndpointTraits {
  readonly port: number;
  readonly weight: number;
  readonly health: EndpointConfig["health"];
  readonly tlsMode: string;
  readonly workload: string;
  readonly hashKey: string | undefined;
}

/**
 * An endpoint as it is held: of ten thousand nearly all that they say is the same, and V8 copies each young object and text twice, with the
 * event loop held. So each has its address alone, and the host is cut out of it when somebody connects.
 */
export class CompactEndpoint implements EndpointConfig {
  readonly address: string;
  readonly traits: EndpointTraits;

  constructor(address: string, traits: EndpointTraits) {
    this.address = address;
    this.traits = traits;
  }

  get host(): string {
    if (this.traits.port === 0) return this.address;
    const host = this.address.slice(0, this.address.lastIndexOf(":"));
    return host.includes(":") ? host.slice(1, -1) : host;
  }

  get port(): number {
    return this.traits.port;
  }

  get weight(): number {
    return this.traits.weight;
  }

  get health(): EndpointConfig["health"] {
    return this.traits.health;
  }

  get tlsMode(): string {
    return this.traits.tlsMode;
  }

  get workload(): string {
    return this.traits.workload;
  }

  get hashKey(): string | undefined {
    return this.traits.hashKey;
  }
}

/** Looked through for each endpoint; one that differs from all of these has traits of its own. */
const most = 8;

/** The traits that were met so far, one object for equal ones. */
export class KnownTraits {
  readonly #known: EndpointTraits[] = [];

  /** `like` is not kept. */
  of(like: EndpointTraits): EndpointTraits {
    const { port, weight, health, tlsMode, workload, hashKey } = like;
    // A key of its own is what it has for.
    if (hashKey === undefined)
      for (const each of this.#known)
        if (
          each.port === port &&
          each.weight === weight &&
          each.health === health &&
          each.tlsMode === tlsMode &&
          each.workload === workload
        )
          return each;
    const traits = { port, weight, health, tlsMode, workload, hashKey };
    if (hashKey === undefined && this.#known.length < most) this.#known.push(traits);
    return traits;
  }
}

const colon = 0x3a;
const zero = 0x30;
const digits = 5;

let room = Buffer.alloc(64);

/**
 * `host:port`, IPv6 in brackets, of a host that stands in these bytes from `start` to `end`. As one flat text of one byte a character:
 * put together in script it would be three objects. Ports have at most five digits.
 */
export function addressText(bytes: Buffer, start: number, end: number, port: number): string {
  if (room.length < end - start + digits + 3) room = Buffer.alloc(2 * (end - start) + digits + 3);
  let at = 1;
  let brackets = false;
  for (let from = start; from < end; from++) {
    const byte = bytes[from]!;
    if (byte > 0x7f) return unusual(bytes.toString("utf8", start, end), port);
    if (byte === colon) brackets = true;
    room[at++] = byte;
  }
  if (brackets) {
    room[0] = 0x5b;
    room[at++] = 0x5d;
  }
  room[at++] = colon;
  let scale = 1;
  while (scale * 10 <= port) scale *= 10;
  for (; scale >= 1; scale = Math.floor(scale / 10)) room[at++] = zero + (Math.floor(port / scale) % 10);
  return room.toString("latin1", brackets ? 0 : 1, at);
}

function unusual(host: string, port: number): string {
  return host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`;
}
