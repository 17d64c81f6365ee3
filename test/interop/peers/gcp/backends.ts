import { createServer } from "node:http";
import { createServer as createTlsServer } from "node:https";
import type { AddressInfo, Server } from "node:net";
import type { TLSSocket } from "node:tls";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import { makeCertificate, spiffe, type TestCertificate } from "../../../kit/certs.ts";
import type { Context } from "../../peer.ts";
import type { Place } from "./resources.ts";

/** Who vouches for everybody in one mesh, and the files of its caller. */
export interface Vouchers {
  readonly root: TestCertificate;
  readonly caller: string;
  readonly files: { readonly certificate: string; readonly key: string; readonly root: string };
}

export function makeVouchers(context: Context): Vouchers {
  const root = makeCertificate("root");
  const caller = spiffe("demo", "caller");
  const own = makeCertificate("caller", { issuer: root, uris: [caller] });
  const folder = join(context.scratch, "certificates");
  mkdirSync(folder, { recursive: true });
  const write = (name: string, text: string): string => {
    const file = join(folder, name);
    writeFileSync(file, text, { mode: 0o600 });
    return file;
  };
  return {
    root,
    caller,
    files: {
      certificate: write("cert-chain.pem", own.certPem),
      key: write("key.pem", own.keyPem),
      root: write("root-cert.pem", root.certPem),
    },
  };
}

export interface Backend extends Place {
  close(): Promise<void>;
}

/** Answers its name; over mutual TLS, by whom it was called as well. */
export async function startBackend(name: string, host: string, vouchers?: Vouchers): Promise<Backend> {
  const account = vouchers && spiffe("demo", name);
  let server: Server & { closeAllConnections(): void };
  if (vouchers === undefined) server = createServer((_request, response) => void response.end(name));
  else {
    const own = makeCertificate(name, { issuer: vouchers.root, uris: [account ?? ""] });
    const options = { key: own.keyPem, cert: own.certPem, ca: vouchers.root.certPem, requestCert: true };
    server = createTlsServer(options, (request, response) => {
      const from = (request.socket as TLSSocket).getPeerCertificate().subjectaltname ?? "-";
      response.end(`${name} ${from.replace("URI:", "")}`);
    });
  }
  await new Promise<void>((resolve) => server.listen(0, host, resolve));
  return {
    address: host,
    port: (server.address() as AddressInfo).port,
    ...(account !== undefined && { account }),
    async close() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
