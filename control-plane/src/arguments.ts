import { parseArgs, type ParseArgsConfig } from "node:util";

/** What was typed is not a command of ours: answered with the usage. */
export class UsageError extends Error {}

export function parse<T extends NonNullable<ParseArgsConfig["options"]>>(
  args: string[],
  options: T,
  allowPositionals = false,
): ReturnType<typeof parseArgs<{ options: T; strict: true; allowPositionals: boolean }>> {
  try {
    return parseArgs({ args, options, strict: true, allowPositionals });
  } catch (error) {
    throw new UsageError(error instanceof Error ? error.message : String(error));
  }
}

export function required(value: string | undefined, name: string): string {
  if (value === undefined || value === "") throw new UsageError(`${name} is missing`);
  return value;
}

export function count(text: string | undefined, name: string): number | undefined {
  if (text === undefined) return undefined;
  if (!/^\d{1,9}$/.test(text)) throw new UsageError(`${name}: ${text} is not a number`);
  return Number(text);
}

export function seconds(text: string | undefined, name: string): number | undefined {
  if (text === undefined) return undefined;
  const [, amount, unit = "s"] = /^(\d{1,9}(?:\.\d{1,3})?)([smhd])$/.exec(text) ?? [];
  if (amount === undefined) throw new UsageError(`${name}: ${text} is not a time such as 90s, 15m, 24h or 30d`);
  return Number(amount) * (unitSeconds[unit] ?? 1);
}

const unitSeconds: Readonly<Record<string, number>> = { s: 1, m: 60, h: 3_600, d: 86_400 };
