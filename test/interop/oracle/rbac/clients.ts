import { connect as connectTcp } from "node:net";
import type { Socket } from "node:net";
import { connect as connectTls } from "node:tls";

import type { Peer } from "@trama/engine";

import { makePeer } from "../../../kit/call.ts";
import { makeCertificate, spiffe } from "../../../kit/certs.ts";
import type { TestCertificate } from "../../../kit/certs.ts";
import type { Chance } from "../chance.ts";

/** Names that begin alike, end alike, or differ in the trust domain alone: what a careless comparison takes for one another. */
export const identities: readonly string[] = [
  spiffe("shop", "web"),
  spiffe("shop", "web-canary"),
  spiffe("bank", "web"),
  spiffe("shop", "web", "other.domain"),
];

export const sources: readonly string[] = ["127.0.0.1", "127.0.0.2", "127.0.1.7"];
export const serverNames: readonly string[] = ["reviews.shop", "outbound_.80_._.reviews.shop.svc.cluster.local", ""];

/** Who sends: over mTLS with a name, or in plaintext as nobody. */
export interface Client {
  readonly identity: string | undefined;
  readonly source: string;
  /** What it asks for in its hello; empty for none. */
  readonly serverName: string;
}

export function randomClient(chance: Chance): Client {
  const identity = chance.maybe(0.2) ? undefined : chance.pick(identities);
  return { identity, source: chance.pick(sources), serverName: identity === undefined ? "" : chance.pick(serverNames) };
}

export interface Pki {
  readonly root: TestCertificate;
  readonly server: TestCertificate;
  readonly leaves: ReadonlyMap<string, TestCertificate>;
}

export function makePki(): Pki {
  const root = makeCertificate("oracle root");
  const leaf = (uri: string): TestCertificate => makeCertificate(uri.slice(-10), { issuer: root, uris: [uri] });
  return { root, server: leaf(spiffe("shop", "server")), leaves: new Map(identities.map((uri) => [uri, leaf(uri)])) };
}

export function dial({ identity, source, serverName }: Client, pki: Pki, host: string, port: number): Promise<Socket> {
  const leaf = identity === undefined ? undefined : pki.leaves.get(identity);
  return new Promise((resolve, reject) => {
    const socket: Socket = connectTcp({ host, port, localAddress: source, noDelay: true });
    socket.once("error", reject);
    if (leaf === undefined) return void socket.once("connect", () => resolve(socket));
    const secure = connectTls({
      socket,
      cert: leaf.certPem,
      key: leaf.keyPem,
      ca: pki.root.certPem,
      checkServerIdentity: () => undefined,
      ...(serverName !== "" && { servername: serverName }),
    });
    secure.once("error", reject);
    secure.once("secureConnect", () => resolve(secure));
  });
}

/** What our server would have established of that connection. */
export function peerOf({ identity, source, serverName }: Client, host: string, port: number): Peer {
  const parts = identity === undefined ? null : /^spiffe:\/\/([^/]+)\/ns\/([^/]+)\/sa\/([^/]+)$/.exec(identity);
  return makePeer({
    spiffeId: identity,
    trustDomain: parts?.[1] ?? "",
    namespace: parts?.[2] ?? "",
    serviceAccount: parts?.[3] ?? "",
    remoteAddress: source,
    localAddress: host,
    localPort: port,
    mtls: identity !== undefined,
    serverName,
  });
}
