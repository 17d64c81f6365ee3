import type { Socket } from "node:net";
import type { Clock } from "@trama/engine";

/** What every HTTP/2 client says first is `PRI * HTTP/2.0` (RFC 9113 §3.4); no method of HTTP/1 begins with these two letters. */
const preface = Buffer.from("PR");
const timeoutMs = 10_000;

/**
 * Looks at the first bytes of a connection that has said nothing by ALPN, and puts them back. A peer that says no more than one byte is
 * cut (dataplane.md §20).
 */
export function speaksHttp2(socket: Socket, clock: Clock, answer: (http2: boolean) => void): void {
  let done = false;
  const end = (): void => {
    done = true;
    timer.cancel();
    socket.removeListener("readable", look);
    socket.removeListener("end", gone);
    socket.removeListener("close", end);
    socket.removeListener("error", ignore);
  };
  const gone = (): void => void socket.destroy();
  const look = (): void => {
    // Null until both are there; no request of either protocol is shorter.
    const first = socket.read(preface.length) as Buffer | null;
    if (done || first === null) return;
    end();
    socket.unshift(first);
    answer(first.equals(preface));
  };
  const timer = clock.after(timeoutMs, gone);
  socket.on("readable", look);
  socket.on("end", gone);
  socket.on("close", end);
  socket.on("error", ignore);
  // What the sniffer put back is announced to nobody who comes within the same event.
  look();
}

function ignore(): void {}
