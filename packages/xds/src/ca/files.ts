import { join } from "node:path";

import { readFileText } from "../read-file.ts";
import { writeWhole } from "../whole-file.ts";
import { type Identity, IdentityError } from "./identity.ts";

const keyFile = "key.pem";
const chainFile = "cert-chain.pem";
const rootFile = "root-cert.pem";

/**
 * Writes key, chain and roots under Istio's names. Each file is whole or not there, and for the owner only. A
 * crash between the files leaves a key and a chain that do not belong together, which {@link readKept} 's caller finds out.
 */
export async function keep(folder: string, identity: Omit<Identity, "epoch">): Promise<void> {
  try {
    await writeWhole(join(folder, rootFile), identity.rootsPem.join(""));
    await writeWhole(join(folder, chainFile), identity.chainPem);
    await writeWhole(join(folder, keyFile), identity.keyPem);
  } catch (thrown) {
    throw failed(folder, "written", thrown);
  }
}

/** `undefined`: nothing is kept yet. */
export async function readKept(
  folder: string,
): Promise<{ readonly keyPem: string; readonly chainPem: string } | undefined> {
  try {
    const [keyPem, chainPem] = await Promise.all([
      readFileText(join(folder, keyFile)),
      readFileText(join(folder, chainFile)),
    ]);
    return { keyPem, chainPem };
  } catch (thrown) {
    if ((thrown as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw failed(folder, "read", thrown);
  }
}

const remedies: Readonly<Record<string, string>> = {
  ENOSPC: "the disk is full",
  EDQUOT: "the quota is used up",
  EACCES: "this process may not",
  EPERM: "this process may not",
  EROFS: "the file system is read-only",
  ENOTDIR: "it is not a folder",
  EEXIST: "it is not a folder",
  ENOENT: "no folder can be made there",
};

function failed(folder: string, what: string, cause: unknown): IdentityError {
  const code = (cause as NodeJS.ErrnoException).code ?? "";
  const why = remedies[code] ?? (cause instanceof Error ? cause.message : String(cause));
  return new IdentityError(
    "KEY_STORE_FAILED",
    `key and certificate cannot be ${what} in ${folder}: ${why} (${code}); mend that, or keep the key in memory by giving no identityDir`,
    cause,
  );
}
