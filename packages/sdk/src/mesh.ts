import { TramaError } from "./errors.ts";
import type { Mesh } from "./mesh-types.ts";
import type { MeshOptions } from "./options.ts";

export async function joinMesh(options: MeshOptions = {}): Promise<Mesh> {
  void options;
  throw new TramaError("INTERNAL", "");
}
