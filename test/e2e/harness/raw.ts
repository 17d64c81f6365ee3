import net from "node:net";
import tls from "node:tls";

/** What a peer that does not know the mesh gets back, down to the bytes. */
export interface RawEnd {
  /** Everything that came, as latin1. */
  readonly text: string;
  /** Errno or TLS code when the connection was cut; empty text for an orderly end. */
  readonly code: string;
}

const limitMs = 10_000;

/** Plain bytes into a port. Ends when the other side does, or when `enough` of the answer is here. */
export function rawPlain(port: number, bytes: string, enough?: (text: string) => boolean): Promise<RawEnd> {
  return exchange(net.connect({ host: "127.0.0.1", port }), "connect", bytes, enough);
}

/** The same inside TLS, with whatever certificate the test wants to show. */
export function rawTls(
  port: number,
  options: tls.ConnectionOptions,
  bytes: string,
  enough?: (text: string) => boolean,
): Promise<RawEnd> {
  // The test is about what the server accepts: whom the client believes is another matter.
  const socket = tls.connect({ host: "127.0.0.1", port, rejectUnauthorized: false, ...options });
  return exchange(socket, "secureConnect", bytes, enough);
}

function exchange(
  socket: net.Socket,
  connected: string,
  bytes: string,
  enough: ((text: string) => boolean) | undefined,
): Promise<RawEnd> {
  return new Promise((resolve, reject) => {
    let text = "";
    let code = "";
    const timer = setTimeout(() => {
      reject(new Error(`neither answered nor cut within ${limitMs} ms; so far: ${text.slice(0, 200)}`));
      socket.destroy();
    }, limitMs);
    socket.once(connected, () => socket.write(bytes, "latin1"));
    socket.on("data", (chunk: Buffer) => {
      text += chunk.toString("latin1");
      if (enough?.(text) === true) socket.destroy();
    });
    socket.on("error", (error: NodeJS.ErrnoException) => {
      code = error.code ?? error.message;
    });
    socket.on("close", () => {
      clearTimeout(timer);
      resolve({ text, code });
    });
  });
}

/** A request as bytes; the target is sent exactly as given. */
export function requestBytes(method: string, target: string, headers: Readonly<Record<string, string>> = {}): string {
  const fields = Object.entries({ host: "service:8080", connection: "close", ...headers });
  return `${method} ${target} HTTP/1.1\r\n${fields.map(([name, value]) => `${name}: ${value}\r\n`).join("")}\r\n`;
}

export function statusOf(text: string): number {
  return Number(/^HTTP\/1\.1 (\d{3})/.exec(text)?.[1] ?? 0);
}
