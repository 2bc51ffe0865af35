import { join } from 'node:path';
import { StockpotError } from '../errors.js';
import { isObject, parseJsonStrict } from './json.js';
import { RECORD_FILE } from './output.js';
import { readSmallFileIfThere } from './small_file.js';
import type { Checkpoint } from './types.js';

/** One ingredient as the soup remembers it. */
export interface IngredientRecord {
  /** Path as it was given. */
  path: string;
  /** The dict inside a wrapped PyTorch checkpoint that was taken. */
  key?: string;
  files: { name: string; size: number; mtimeNs: string; headerHash: string; sha256?: string }[];
}

/** What a soup says about itself: beside the weights (soup.json) or inside (`__metadata__.stockpot`). */
export interface SoupRecord {
  stockpot: string;
  recipe: string;
  ingredients: IngredientRecord[];
  /** Positions of the ingredients that are in the soup. */
  members: number[];
  /** One an ingredient, as used; where groups of tensors differ (`mixture`), the mean over all weights of the network. */
  weights: number[];
  /** Weights by group of tensors: `learned --by layer|tensor`. */
  mixture?: { by: 'layer' | 'tensor'; alpha: Record<string, number[]> };
  options: Record<string, unknown>;
  /** What the recipe says of how it came to these weights. */
  details?: Record<string, unknown>;
}

export const METADATA_KEY = 'stockpot';

/** The record of a checkpoint, or null where it carries none. @throws StockpotError FORMAT, IO */
export async function readRecord(checkpoint: Checkpoint): Promise<SoupRecord | null> {
  const text =
    checkpoint.metadata[METADATA_KEY] ??
    (await readSmallFileIfThere(join(checkpoint.path, RECORD_FILE)));
  if (text === undefined) return null;
  try {
    const value = parseJsonStrict(text);
    if (isRecord(value)) return value;
  } catch {}
  throw new StockpotError('FORMAT', `${checkpoint.path}: its record of the soup is damaged`, {
    file: checkpoint.path,
  });
}

const isNumbers = (v: unknown): v is number[] =>
  Array.isArray(v) && v.every((x) => typeof x === 'number');

const isMixture = (v: unknown): boolean =>
  isObject(v) &&
  (v.by === 'layer' || v.by === 'tensor') &&
  isObject(v.alpha) &&
  Object.values(v.alpha).every(isNumbers);

function isRecord(v: unknown): v is SoupRecord {
  return (
    isObject(v) &&
    typeof v.stockpot === 'string' &&
    typeof v.recipe === 'string' &&
    isNumbers(v.members) &&
    isNumbers(v.weights) &&
    (v.mixture === undefined || isMixture(v.mixture)) &&
    isObject(v.options) &&
    (v.details === undefined || isObject(v.details)) &&
    Array.isArray(v.ingredients) &&
    v.ingredients.every(
      (i) =>
        isObject(i) &&
        typeof i.path === 'string' &&
        Array.isArray(i.files) &&
        i.files.every(
          (f) => isObject(f) && typeof f.name === 'string' && typeof f.size === 'number',
        ),
    )
  );
}
