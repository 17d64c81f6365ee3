import type { Dispatcher as UndiciDispatcher } from "undici";

import type { MeshDispatcher } from "./undici.ts";

export interface InterceptorOptions {
  /** Where requests go that do not say so themselves: those of a `Pool` or `Client` that is composed with the interceptor. */
  readonly origin?: string | URL | undefined;
}

type Dispatch = UndiciDispatcher["dispatch"];

/**
 * Leads requests to hosts of the mesh into it, and leaves all others to the dispatcher that it is composed with:
 * `new Agent().compose(mesh.interceptor())`. It must be the last one of `compose`, which is the first to run, if what others do should
 * happen below the mesh; put before them, theirs happens first.
 */
export function meshInterceptor(
  mesh: MeshDispatcher,
  { origin }: InterceptorOptions = {},
): (dispatch: Dispatch) => Dispatch {
  return (dispatch) => (options, handler) => {
    const where = options.origin ?? origin;
    if (where === undefined) return dispatch(options, handler);
    const entered = options.origin === undefined ? { ...options, origin: where } : options;
    let standing: ReturnType<MeshDispatcher["standing"]>;
    try {
      standing = mesh.standing(where);
    } catch {
      // No http origin: none of the mesh's, and its own dispatcher says what is wrong.
      return dispatch(options, handler);
    }
    if (standing === "mesh" || standing === "opaque" || (standing === "stranger" && mesh.refusesStrangers))
      return mesh.dispatch(entered, handler);
    if (standing !== "unasked") return dispatch(options, handler);
    void mesh.ask(where).then((answer) => {
      // Also what cannot be said is the mesh's to say: never past it by accident.
      if (answer === "stranger" && !mesh.refusesStrangers) dispatch(options, handler);
      else mesh.dispatch(entered, handler);
    });
    return true;
  };
}
