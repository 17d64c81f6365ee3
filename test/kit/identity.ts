import type { Identity, IdentitySource } from "@trama/xds";

import { makeCertificate, spiffe, type TestCertificate } from "./certs.ts";

/** An identity that the test renews by hand. */
export interface TestIdentity extends IdentitySource {
  readonly current: Identity;
  /** The next epoch: a new key and certificate of the same name. */
  renew(options?: { readonly notAfterMs?: number }): void;
}

/** The identity of `<namespace>/<service account>`, signed by `root`. */
export function testIdentity(root: TestCertificate, namespace: string, serviceAccount: string): TestIdentity {
  const listeners: ((identity: Identity) => void)[] = [];
  let epoch = 0;
  const make = (notAfterMs = Date.now() + 86_400_000): Identity => {
    const spiffeId = spiffe(namespace, serviceAccount);
    const leaf = makeCertificate(serviceAccount, { issuer: root, uris: [spiffeId], notAfterMs });
    return {
      keyPem: leaf.keyPem,
      chainPem: leaf.certPem,
      rootsPem: [root.certPem],
      spiffeId,
      trustDomain: "cluster.local",
      notBeforeMs: Date.now() - 3_600_000,
      notAfterMs,
      epoch: ++epoch,
    };
  };
  let current = make();
  return {
    get current() {
      return current;
    },
    lastError: undefined,
    start: () => Promise.resolve(current),
    onChange: (fn) => void listeners.push(fn),
    renew(options) {
      current = make(options?.notAfterMs);
      for (const listener of listeners) listener(current);
    },
    close() {},
  };
}
