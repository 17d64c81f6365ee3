import { DerError, expectTag, parts, readDer, tags } from "./der.ts";

/** The contents of extension ids, in hexadecimal, as they stand in a certificate. */
export const extensionIds = { subjectKeyId: "551d0e", subjectAlternativeName: "551d11" } as const;

/** What node:crypto's X509Certificate does not show: encoded parts, as they stand. */
export interface CertificateParts {
  /** The subject's Name, encoded. */
  readonly subject: Buffer;
  /** The content of an extension, by its id in hexadecimal. */
  extension(id: string): Buffer | undefined;
}

/** Takes an X.509 certificate apart (RFC 5280, 4.1). Throws DerError if it is none. */
export function readCertificate(bytes: Uint8Array): CertificateParts {
  const [tbs] = parts(expectTag(readDer(bytes), tags.sequence, "certificate"));
  const fields = parts(expectTag(tbs, tags.sequence, "certificate body"));
  // An explicit version ([0]) stands first in all but version 1.
  const subject = expectTag(fields[fields[0]?.tag === 0xa0 ? 5 : 4], tags.sequence, "subject");
  const extensions = new Map<string, Buffer>();
  const wrapped = fields.find((field) => field.tag === 0xa3);
  for (const extension of wrapped === undefined ? [] : parts(readDer(wrapped.value))) {
    const [id, ...rest] = parts(extension);
    const key = expectTag(id, tags.oid, "extension id").value.toString("hex");
    // RFC 5280, 4.2: not more than one of a kind; two would let readers differ on who the subject is.
    if (extensions.has(key)) throw new DerError("the same extension twice");
    extensions.set(key, expectTag(rest.at(-1), tags.octetString, "extension value").value);
  }
  return { subject: subject.raw, extension: (id) => extensions.get(id) };
}

/** The URIs of the subject alternative name, from the extension itself: no text form of it can be split safely (R53). */
export function uriNames(certificate: CertificateParts): string[] {
  const extension = certificate.extension(extensionIds.subjectAlternativeName);
  if (extension === undefined) return [];
  return parts(expectTag(readDer(extension), tags.sequence, "list of names"))
    .filter((name) => name.tag === 0x86)
    .map((name) => name.value.toString("latin1"));
}
