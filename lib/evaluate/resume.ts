import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { contentHash } from '../checkpoint/hash.js';
import { isObject } from '../checkpoint/json.js';
import type { Checkpoint } from '../checkpoint/types.js';
import { makeKept, writeWhole } from '../checkpoint/whole_file.js';
import { StockpotError } from '../errors.js';
import type { RunOptions } from '../progress.js';
import type { Evaluator } from './evaluator.js';
import type { Metrics, Scores } from './metrics.js';

/** How the evaluation of one soup ended. */
export interface Outcome {
  /** The metric; null where the soup was rejected before it was known. */
  value: number | null;
  /** How many examples were evaluated; null where the evaluator does not say. */
  evaluated: number | null;
  metrics: Partial<Metrics>;
  /** By example, where all were evaluated. */
  scores?: Scores;
}

/**
 * Evaluations that a killed run had finished, in a folder: one small file each, named by a hash of everything that it
 * depends on. A file appears whole or not at all; one that cannot be read is as if it were not there.
 */
export class Evaluations {
  private constructor(private readonly folder: string) {}

  /** @throws StockpotError IO */
  static async open(folder: string): Promise<Evaluations> {
    await makeKept(folder);
    return new Evaluations(folder);
  }

  /** The name of what depends on these things. */
  static key(parts: unknown): string {
    return createHash('sha256').update(JSON.stringify(parts)).digest('hex');
  }

  async get(key: string, examples: number | undefined): Promise<Outcome | null> {
    const text = await readFile(this.path(key), 'utf8').catch(() => null);
    if (text === null) return null;
    try {
      return decode(JSON.parse(text), examples);
    } catch {
      return null;
    }
  }

  /** @throws StockpotError IO, NO_SPACE */
  async put(key: string, outcome: Outcome): Promise<void> {
    await writeWhole(this.path(key), `${JSON.stringify(encode(outcome))}\n`);
  }

  private path(key: string): string {
    return join(this.folder, `${key}.json`);
  }
}

/** Where evaluations of mixes are kept, and what their names are made of. */
export interface Kept {
  evaluations: Evaluations;
  /** Content hashes, one an ingredient. */
  hashes: readonly string[];
}

/** @throws StockpotError USAGE where the evaluator has no id; IO */
export async function openKept(
  folder: string,
  evaluator: Evaluator,
  checkpoints: readonly Checkpoint[],
  run: RunOptions,
): Promise<Kept> {
  if (typeof evaluator === 'function' || evaluator.id === undefined) {
    throw new StockpotError('USAGE', 'resume needs an evaluator with an id', {
      remedy:
        'Give { id, evaluate } instead of a function; the id says what the metric depends on.',
    });
  }
  const evaluations = await Evaluations.open(folder);
  const hashes: string[] = [];
  for (const c of checkpoints) hashes.push(await contentHash(c, run));
  return { evaluations, hashes };
}

const FORMAT = 1;

// JSON has no NaN and no infinities.
const showNumber = (x: number): number | string => (Number.isFinite(x) ? x : String(x));
const readNumber = (x: unknown): number => {
  if (typeof x === 'number') return x;
  if (x === 'NaN' || x === 'Infinity' || x === '-Infinity') return Number(x);
  throw new TypeError('expected a number');
};

const base64 = (x: Int32Array | Float64Array): string =>
  Buffer.from(x.buffer, x.byteOffset, x.byteLength).toString('base64');

function encode({ value, evaluated, metrics, scores }: Outcome): object {
  return {
    stockpotEvaluation: FORMAT,
    value: value === null ? null : showNumber(value),
    evaluated,
    metrics: Object.fromEntries(Object.entries(metrics).map(([k, v]) => [k, showNumber(v)])),
    ...(scores && {
      scores: {
        prediction: base64(scores.prediction),
        loss: base64(scores.loss),
        margin: base64(scores.margin),
        confidence: base64(scores.confidence),
      },
    }),
  };
}

/** @throws TypeError where it is not what `encode` writes */
function decode(file: unknown, examples: number | undefined): Outcome {
  if (!isObject(file) || file.stockpotEvaluation !== FORMAT || !isObject(file.metrics))
    throw new TypeError('not an evaluation');
  const { value, evaluated, scores } = file;
  const outcome: Outcome = {
    value: value === null ? null : readNumber(value),
    evaluated: evaluated === null ? null : readNumber(evaluated),
    metrics: Object.fromEntries(Object.entries(file.metrics).map(([k, v]) => [k, readNumber(v)])),
  };
  if (value === null || examples === undefined) return outcome;
  if (!isObject(scores)) throw new TypeError('no scores');
  const bytes = (name: string, size: number): ArrayBuffer => {
    const raw = Buffer.from(String(scores[name]), 'base64');
    if (raw.length !== size * examples) throw new TypeError('not as many scores as examples');
    return new Uint8Array(raw).buffer;
  };
  outcome.scores = {
    prediction: new Int32Array(bytes('prediction', 4)),
    loss: new Float64Array(bytes('loss', 8)),
    margin: new Float64Array(bytes('margin', 8)),
    confidence: new Float64Array(bytes('confidence', 8)),
  };
  return outcome;
}
