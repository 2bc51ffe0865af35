import type { Checkpoint } from '../../checkpoint/types.js';
import { StockpotError } from '../../errors.js';
import type { ExampleEvaluator } from '../../evaluate/evaluator.js';
import type { EvaluationOptions } from '../../evaluate/session.js';
import { BY, type By } from '../../merge/groups.js';
import type { SetRole } from './types.js';

/** Labelled data: a path (or several shards), or an evaluator that runs soups on it. */
export type ComparedData = string | readonly string[] | ExampleEvaluator;

/** What is compared, on which data. */
export interface CompareOptions extends Omit<EvaluationOptions, 'data'> {
  /** The held-out set: what recipes look at. */
  data: ComparedData;
  /** What they do not look at. */
  test?: ComparedData;
  /** Test sets of other distributions, by name. */
  shifted?: Readonly<Record<string, ComparedData>>;
  /** The model that the ingredients were fine-tuned from. */
  base?: string | Checkpoint;
  /** Soups that were made before, to be compared too. */
  soups?: readonly (string | Checkpoint)[];
  /** Make soups and ensembles of the ingredients; true by default. */
  recipes?: boolean;
  /** Learned soups, by what they have coefficients; ['model'] by default. */
  learned?: readonly By[];
  /** How many greedy soups in random order; 3 by default. */
  orders?: number;
  /** Sizes of small held-out sets that recipes are tried with. */
  subset?: readonly number[];
  /** Random subsets of each size; 10 by default. */
  repeats?: number;
  /** Resamples for the intervals; 1000 by default. */
  resamples?: number;
  /** Of the intervals; 0.95 by default. */
  level?: number;
  /** Of everything random; 0 by default. */
  seed?: number;
  /** Told of each model that was run on a set. */
  onStep?: (step: { set: string; runs: number }) => void;
}

/** What is random, and how much of it; checked. */
export interface Settings {
  learned: readonly By[];
  recipes: boolean;
  orders: number;
  subset: readonly number[];
  repeats: number;
  resamples: number;
  level: number;
  seed: number;
}

const usage = (message: string, remedy?: string): StockpotError =>
  new StockpotError('USAGE', message, { remedy });

/** @throws StockpotError USAGE */
export function check(k: number, o: CompareOptions): Settings {
  if (k === 0) throw usage('expected at least one ingredient');
  const whole = (name: string, value: number, least: number, most: number): number => {
    if (Number.isSafeInteger(value) && value >= least && value <= most) return value;
    throw usage(
      `expected ${name} to be a whole number from ${least} to ${most} but received ${value}`,
    );
  };
  const level = o.level ?? 0.95;
  if (!(level > 0 && level < 1))
    throw usage(`expected level to be between 0 and 1 but received ${level}`);
  for (const name of Object.keys(o.shifted ?? {})) {
    if (['', 'heldout', 'test', 'shiftMean', '__proto__'].includes(name))
      throw usage(`"${name}" cannot be the name of a shifted set`, 'Choose another name.');
  }
  const learned = o.learned ?? ['model'];
  const strange = learned.find((by) => !BY.includes(by));
  if (strange !== undefined)
    throw usage(`expected learned to name ${BY.join(', ')} but received ${strange}`);
  const sizes = (o.subset ?? []).map((n) => whole('subset', n, 1, 2 ** 31));
  const recipes = o.recipes ?? true;
  return {
    recipes,
    learned: recipes && k > 1 ? [...new Set(learned)] : [],
    orders: whole('orders', o.orders ?? 3, 0, 1000),
    subset: [...new Set(sizes)].sort((a, b) => a - b),
    repeats: whole('repeats', o.repeats ?? 10, 1, 10_000),
    resamples: whole('resamples', o.resamples ?? 1000, 100, 1_000_000),
    level,
    seed: whole('seed', o.seed ?? 0, 0, Number.MAX_SAFE_INTEGER),
  };
}

/** The sets in the order in which they are gone through. */
export function listSets(o: CompareOptions): { name: string; role: SetRole; data: ComparedData }[] {
  return [
    { name: 'heldout', role: 'heldout', data: o.data },
    ...(o.test === undefined ? [] : [{ name: 'test', role: 'test' as const, data: o.test }]),
    ...Object.entries(o.shifted ?? {}).map(([name, data]) => ({
      name,
      role: 'shifted' as const,
      data,
    })),
  ];
}

/** @throws StockpotError USAGE */
export function refuseLargeSubsets(sizes: readonly number[], n: number, path: string): void {
  const large = sizes.find((s) => s >= n);
  if (large === undefined) return;
  throw usage(
    `expected subsets smaller than the held-out set ${path}, which has ${n} examples, but received ${large}`,
  );
}

/** Whether data is an evaluator of the caller's. */
export const isEvaluator = (d: ComparedData): d is ExampleEvaluator =>
  typeof d === 'object' && 'batches' in d;

/** Greedy soups often come to the same members, so it may be fewer. */
export const mostMixes = (models: number, k: number, { recipes, orders }: Settings): number =>
  models + (recipes ? 2 * k + orders : 0);
