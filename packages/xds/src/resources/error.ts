/**
 * Why a resource is refused. The message ends in the NACK and in the control plane's status, so it says where in the
 * resource the fault is and what is wrong with it, in xDS's own field names.
 */
export class ResourceError extends Error {
  override readonly name = "ResourceError";
}

/** Reads a part of a resource; a fault inside is told with the place: `virtual_hosts[0].routes[3]: …`. */
export function within<T>(place: string, read: () => T): T {
  try {
    return read();
  } catch (error) {
    if (!(error instanceof ResourceError)) throw error;
    const separator = error.message.startsWith("[") || /^[a-z_0-9[\]".]+: /.test(error.message) ? "." : ": ";
    throw new ResourceError(`${place}${separator}${error.message}`, { cause: error.cause });
  }
}

/** Reads each element of a list with its place. */
export function each<T, R>(place: string, items: readonly T[], read: (item: T, index: number) => R): R[] {
  return items.map((item, index) => within(`${place}[${index}]`, () => read(item, index)));
}

/** The field is one that this release does not carry out. Never passed over in silence: that would change behaviour. */
export function unsupported(field: string): never {
  throw new ResourceError(`${field} is not supported by this release; remove it`);
}
