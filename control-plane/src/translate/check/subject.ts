import type { Model } from "../../model/model.ts";
import type { Kind } from "../../sources/istio/kinds.ts";
import type { ConfigObject } from "../../sources/object.ts";
import type { Translator } from "../translator.ts";

/** What the checks look at: the objects for positions, the model for what they mean together. */
export interface Subject {
  readonly model: Model;
  readonly translator: Translator;
  readonly all: <K extends Kind>(kind: K) => readonly ConfigObject<K>[];
}
