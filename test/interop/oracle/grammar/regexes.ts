import type { Chance } from "../chance.ts";
import type { Sample } from "./strings.ts";

/**
 * An RE2 pattern made from a text that it may well match: pieces of it become classes, wildcards, groups and repetitions, so that
 * the whole-text rule, greediness and escapes are tried on texts near the border.
 */
export function regexFrom(chance: Chance, text: string, sample: Sample): string {
  const pieces = cut(chance, text).map((piece) => generalise(chance, piece));
  const pattern = pieces.join("") || ".*";
  return chance.either(
    () => pattern,
    () => pattern,
    () => `${pattern}.*`,
    () => `.*${pattern}`,
    () => `(${pattern}|${escape(sample(chance))})`,
    () => `${pattern}|${escape(sample(chance))}`,
    () => `^${pattern}$`,
    () => `(?i)${pattern}`,
  );
}

function cut(chance: Chance, text: string): string[] {
  const pieces: string[] = [];
  for (let at = 0; at < text.length;) {
    const length = chance.int(1, 4);
    pieces.push(text.slice(at, at + length));
    at += length;
  }
  return pieces;
}

function generalise(chance: Chance, piece: string): string {
  if (chance.maybe(0.6)) return escape(piece);
  return chance.either(
    () => ".*",
    () => ".+",
    () => ".".repeat(piece.length),
    () => `.{${piece.length}}`,
    () => "[a-z0-9]+",
    () => "[^/]*",
    () => "\\w+",
    () => "\\d*",
    () => `(?:${escape(piece)})?`,
    () => `(${escape(piece)})+`,
    () => `[${piece.split("").map(inClass).join("")}]{1,${piece.length}}`,
    () => `\\Q${piece}\\E`,
    () => `(?i:${escape(piece)})`,
    () => `${escape(piece)}\\b`,
  );
}

function escape(text: string): string {
  return text.replace(/[\\^$.|?*+()[\]{}]/g, "\\$&");
}

function inClass(char: string): string {
  return char.replace(/[\\\]^-]/g, "\\$&");
}
