// The runs that are killed: every recipe, into files and folders, new and in place of another.
import { mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

export interface Scenario {
  name: string;
  /** The output's name in `box/out`. */
  output: string;
  /** The command line; what it may write to lies in `box`: `out`, `state`, `tmp` (TMPDIR). */
  args(box: string): string[];
  /** The command line that makes the output that is there before; there is none without. */
  old?(output: string): string[];
  /** Further environment of the runs. */
  env?: NodeJS.ProcessEnv;
}

/** Checkpoints of random float32 tensors. @param bytes of data in each */
export function makeZoo(folder: string, k: number, bytes: number): string[] {
  const TENSORS = 8;
  const elements = Math.ceil(bytes / 4 / TENSORS);
  return Array.from({ length: k }, (_, i) => {
    const path = join(folder, `made-up-${i}`);
    mkdirSync(path, { recursive: true });
    let at = 0;
    const table: Record<string, object> = {};
    for (let t = 0; t < TENSORS; t++) {
      table[`blocks.${t}.weight`] = {
        dtype: 'F32',
        shape: [elements],
        data_offsets: [at, at + 4 * elements],
      };
      at += 4 * elements;
    }
    const header = Buffer.from(JSON.stringify(table));
    const length = Buffer.alloc(8);
    length.writeBigUInt64LE(BigInt(header.length));
    const words = new Int32Array(at / 4);
    let s = i + 1;
    for (let j = 0; j < words.length; j++) {
      s ^= s << 13;
      s ^= s >>> 17;
      s ^= s << 5;
      words[j] = (s & 0x81ffffff) | 0x3c000000; // about ±0.03
    }
    writeFileSync(
      join(path, 'model.safetensors'),
      Buffer.concat([length, header, Buffer.from(words.buffer)]),
    );
    writeFileSync(join(path, 'config.json'), '{"model_type": "made-up"}\n');
    return path;
  });
}

/** Says of a soup how good it is, by its bytes: a number that nobody can foresee, and that does not change. */
const PROGRAM = "cksum < {soup}/model.safetensors | cut -c1-4 | sed 's/^/0./'";

/**
 * @param digits examples/digits, whose ingredients the engine runs
 * @param large paths of checkpoints that take some time to average
 */
export function scenarios(digits: string, large: readonly string[]): Scenario[] {
  const small = readdirSync(join(digits, 'ingredients'))
    .sort()
    .map((name) => join(digits, 'ingredients', name));
  const data = ['--data', join(digits, 'heldout')];
  // Little is held in memory, so that prepared images go to a file.
  const spill = ['--cache-memory', '10000'];
  const state = (box: string) => ['--resume', join(box, 'state')];
  const steps = ['--steps', '12', '--batch-size', '100'];
  const first = (output: string) => ['uniform', ...small.slice(0, 2), '-o', output];
  const made = (
    name: string,
    output: string,
    args: (box: string) => string[],
    old?: Scenario['old'],
  ): Scenario => ({
    name,
    output,
    args: (box) => [
      ...args(box),
      ...['-o', join(box, 'out', output)],
      ...(old ? ['--overwrite'] : []),
    ],
    old,
  });
  return [
    made('uniform: a new file', 'new.safetensors', () => ['uniform', ...small]),
    made('uniform: a new folder', 'new', () => ['uniform', ...small]),
    made('uniform: a folder in place of another', 'soup', () => ['uniform', ...small], first),
    made('uniform: large, a file', 'large.safetensors', () => ['uniform', ...large, '--hash']),
    made(
      'uniform: large, shards in place of a folder',
      'shards',
      () => ['uniform', ...large, '--max-shard-size', '3MB'],
      (output) => ['uniform', ...large.slice(0, 1), '-o', output],
    ),
    made('greedy: a new folder', 'greedy', (box) => [
      'greedy',
      ...small,
      ...data,
      ...spill,
      ...state(box),
    ]),
    made(
      'greedy: a file in place of another',
      'greedy.safetensors',
      (box) => ['greedy', ...small, ...data, ...state(box)],
      first,
    ),
    made('greedy: by a program', 'program', (box) => [
      'greedy',
      ...small,
      ...['--evaluate', PROGRAM],
      ...state(box),
    ]),
    made('learned: a new file', 'learned.safetensors', (box) => [
      'learned',
      ...small,
      ...data,
      ...spill,
      ...steps,
      ...state(box),
    ]),
    made(
      'learned: by layer, a folder in place of another',
      'learned',
      (box) => ['learned', ...small, ...data, ...steps, '--by', 'layer', ...state(box)],
      first,
    ),
  ];
}
