/** Who a caller is: proved, never claimed. */
export interface Identity {
  readonly trustDomain: string;
  readonly namespace: string;
  readonly serviceAccount: string;
  /** What proved it. */
  readonly proof: "certificate" | "token" | "list";
  /** When the proof ends, in milliseconds: what was opened by it ends then too (S36). */
  readonly expiresAt: number;
}

// Kubernetes' own grammar: a namespace is a DNS label, a service account a DNS subdomain.
const namespacePattern = "[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?";
const accountPattern = "[a-z0-9](?:[-a-z0-9.]{0,251}[a-z0-9])?";
const subjectPattern = new RegExp(`^system:serviceaccount:(${namespacePattern}):(${accountPattern})$`);
const spiffePattern = new RegExp(`^spiffe://([a-z0-9._-]{1,255})/ns/(${namespacePattern})/sa/(${accountPattern})$`);

export function spiffeId(identity: Pick<Identity, "trustDomain" | "namespace" | "serviceAccount">): string {
  return `spiffe://${identity.trustDomain}/ns/${identity.namespace}/sa/${identity.serviceAccount}`;
}

export function parseSpiffeId(uri: string): Pick<Identity, "trustDomain" | "namespace" | "serviceAccount"> | undefined {
  const [, trustDomain, namespace, serviceAccount] = spiffePattern.exec(uri) ?? [];
  if (trustDomain === undefined || namespace === undefined || serviceAccount === undefined) return undefined;
  return { trustDomain, namespace, serviceAccount };
}

/** The subject of a service account's token, as Kubernetes writes it (I8); `undefined` if the names are not legal. */
export function tokenSubject(namespace: string, serviceAccount: string): string | undefined {
  const subject = `system:serviceaccount:${namespace}:${serviceAccount}`;
  return subjectPattern.test(subject) ? subject : undefined;
}

export function parseTokenSubject(subject: string): Pick<Identity, "namespace" | "serviceAccount"> | undefined {
  const [, namespace, serviceAccount] = subjectPattern.exec(subject) ?? [];
  if (namespace === undefined || serviceAccount === undefined) return undefined;
  return { namespace, serviceAccount };
}
