import { InvalidArgumentError } from 'commander';

const UNITS: Record<string, number> = {
  '': 1,
  B: 1,
  KB: 1e3,
  MB: 1e6,
  GB: 1e9,
  TB: 1e12,
  KIB: 2 ** 10,
  MIB: 2 ** 20,
  GIB: 2 ** 30,
  TIB: 2 ** 40,
};

/** "5GB" (decimal, as transformers counts), "512MiB", "1048576". */
export function parseSize(text: string): number {
  const match = /^(\d+(?:\.\d+)?)\s*([a-z]*)$/i.exec(text.trim());
  const unit = UNITS[(match?.[2] ?? '').toUpperCase()];
  const bytes = match && unit !== undefined ? Math.round(Number(match[1]) * unit) : Number.NaN;
  if (!Number.isSafeInteger(bytes) || bytes < 1) {
    throw new InvalidArgumentError('expected a size such as 5GB, 512MiB or 1048576.');
  }
  return bytes;
}

export function parseCount(text: string): number {
  if (!/^\d+$/.test(text) || Number(text) < 1 || Number(text) > 1024) {
    throw new InvalidArgumentError('expected a whole number from 1 to 1024.');
  }
  return Number(text);
}

/** A whole number from 0, such as a seed or a number of steps. */
export function parseWhole(text: string): number {
  if (!/^\d+$/.test(text) || !Number.isSafeInteger(Number(text)))
    throw new InvalidArgumentError('expected a whole number.');
  return Number(text);
}

/** "30", "0.5": up to 24 days, the longest that a timer can wait. */
export function parseSeconds(text: string): number {
  const seconds = text.trim() === '' ? Number.NaN : Number(text);
  if (!(seconds > 0 && seconds < 2 ** 31 / 1000))
    throw new InvalidArgumentError('expected a number of seconds above 0.');
  return seconds;
}

/** "1,0.5,2". */
export function parseWeights(text: string): number[] {
  const weights = text.split(',').map((t) => (t.trim() === '' ? Number.NaN : Number(t)));
  if (!weights.every(Number.isFinite)) {
    throw new InvalidArgumentError('expected numbers separated by commas, such as 1,0.5,2.');
  }
  return weights;
}

/** Repeatable, or separated by commas outside of braces. */
export function collectGlobs(text: string, before: string[] = []): string[] {
  return [...before, ...text.split(/,(?![^{]*\})/).filter((t) => t !== '')];
}

const COLUMNS = ['text', 'text_pair', 'label', 'image'];

/** "text=review,label=sentiment" -> names of columns by what they are. */
export function parseColumns(text: string) {
  const names: Record<string, string> = {};
  for (const part of text.split(',')) {
    const [, as = '', name = ''] = /^([^=]*)=(.*)$/.exec(part) ?? [];
    if (!COLUMNS.includes(as) || name === '')
      throw new InvalidArgumentError(`expected ${COLUMNS.join('=…, ')}=… separated by commas.`);
    names[as] = name;
  }
  const { text_pair: pair, ...rest } = names;
  return pair === undefined ? rest : { ...rest, pair };
}

/** 1 tensor, 2 tensors. */
export const plural = (n: number, what: string): string => `${n} ${what}${n === 1 ? '' : 's'}`;

export function showCount(n: number): string {
  return n < 1e4
    ? String(n)
    : n < 1e6
      ? `${(n / 1e3).toPrecision(3)} k`
      : n < 1e9
        ? `${(n / 1e6).toPrecision(3)} M`
        : `${(n / 1e9).toPrecision(3)} G`;
}
