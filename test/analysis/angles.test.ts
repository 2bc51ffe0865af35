// Angles, norms and distances against plain arithmetic on the same files; warnings about ingredients that do not share
// an initialisation (behaviour 16).
import { existsSync } from 'node:fs';
import { copyFile, mkdir, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { angles } from '../../lib/analysis/angles.js';
import { correlation, pairsOf } from '../../lib/analysis/statistics.js';
import type { Candidate } from '../../lib/evaluate/evaluator.js';
import { layerOf as groupOf } from '../../lib/merge/groups.js';
import { uniform } from '../../lib/recipes/uniform.js';
import { json, root, stockpot } from '../helpers/cli.js';
import { failure } from '../helpers/errors.js';
import { useFolder } from '../helpers/folder.js';
import { putTensors, readBack, type Tensor, tensor } from '../helpers/safetensors.js';
import { randomNumbers } from '../models/made_up.js';
import {
  accuracyOf,
  BASE,
  DIGITS,
  type Few,
  fewDigits,
  flat,
  ingredient,
  mixLogits,
} from './digits.js';

const at = useFolder();
const KITCHEN = join(root, '../shared/kitchen');
const three = [0, 1, 2].map(ingredient);

const dot = (a: readonly number[], b: readonly number[]): number =>
  a.reduce((sum, x, i) => sum + x * (b[i] as number), 0);
const minus = (a: readonly number[], b: readonly number[]): number[] =>
  a.map((x, i) => x - (b[i] as number));
const norm = (a: readonly number[]): number => Math.sqrt(dot(a, a));
const close = (got: number | null | undefined, want: number) =>
  expect(Math.abs((got ?? Number.NaN) - want)).toBeLessThan(1e-10 * Math.max(1, Math.abs(want)));

describe('the geometry of examples/digits', () => {
  it('is that of the files, with a base', async () => {
    const found = await angles(three, { base: BASE });
    const [base, ...theta] = await Promise.all([BASE, ...three].map(flat));
    const task = theta.map((t) => minus(t, base as number[]));
    expect(found.parameters).toBe(base?.length);
    expect(found).toMatchObject({ base: BASE, refused: null, groups: null, pairs: null });
    for (let i = 0; i < 3; i++) {
      const [t, w] = [task[i] as number[], theta[i] as number[]];
      close(found.taskVectors?.norms[i], norm(t));
      close(found.weights.norms[i], norm(w));
      for (let j = 0; j < 3; j++) {
        const [u, x] = [task[j] as number[], theta[j] as number[]];
        close(found.distances[i]?.[j], norm(minus(w, x)));
        close(found.weights.cosines[i]?.[j], dot(w, x) / (norm(w) * norm(x)));
        const c = dot(t, u) / (norm(t) * norm(u));
        close(found.taskVectors?.cosines[i]?.[j], c);
        const degrees = i === j ? 0 : (Math.acos(c) / Math.PI) * 180;
        close(found.taskVectors?.angles[i]?.[j], degrees);
      }
    }
  });

  it('by layer: each group is a soup of its own tensors, and all together are the model', async () => {
    const found = await angles(three, { base: BASE, by: 'layer' });
    const files = await Promise.all(
      [BASE, ...three].map((p) => readBack(join(p, 'model.safetensors'))),
    );
    const names = [...(files[0]?.tensors.keys() ?? [])];
    expect(found.groups?.map((g) => g.group).sort()).toEqual(
      [...new Set(names.map(groupOf))].sort(),
    );
    expect(found.groups?.map((g) => g.group)).toContain('vit.encoder.layer.1');
    for (const g of found.groups ?? []) {
      const exclude = names.filter((n) => groupOf(n) !== g.group);
      const alone = await angles(three, { base: BASE, exclude });
      const { group: _, ...geometry } = g;
      expect(alone).toMatchObject(geometry);
    }
    const sum = (of: (g: NonNullable<typeof found.groups>[number]) => number) =>
      (found.groups ?? []).reduce((total, g) => total + of(g), 0);
    expect(sum((g) => g.parameters)).toBe(found.parameters);
    close(
      Math.sqrt(sum((g) => (g.distances[0]?.[2] as number) ** 2)),
      found.distances[0]?.[2] as number,
    );
  });

  it('without a base: cosines of the weights and distances; no angles, and why', async () => {
    const found = await angles(three);
    expect(found.taskVectors).toBeNull();
    expect(found.refused).toContain('--base');
    const [a, b] = (await Promise.all(three.map(flat))) as [number[], number[]];
    close(found.distances[0]?.[1], norm(minus(a, b)));
    close(found.weights.cosines[0]?.[1], dot(a, b) / (norm(a) * norm(b)));
  });

  it('an ingredient that is the base has no direction', async () => {
    const found = await angles([BASE, ingredient(1)], { base: BASE });
    expect(found.taskVectors?.angles).toEqual([
      [null, null],
      [null, 0],
    ]);
    expect(found.warnings).toEqual([expect.stringContaining('equals the base')]);
  });
});

describe('what is compared', () => {
  const weights = (seed: number, n = 300): number[] => {
    const next = randomNumbers(seed);
    return Array.from({ length: n }, () => next());
  };

  it('tied tensors once, integers not at all', async () => {
    const make = (name: string, seed: number, lmHead: number) =>
      putTensors(at(name), [
        tensor('shared.weight', 'F32', [10, 30], weights(seed)),
        tensor('lm_head.weight', 'F32', [10, 30], weights(lmHead)),
        tensor('steps', 'I64', [1], [seed]),
      ]);
    const tied = [await make('t1.safetensors', 1, 1), await make('t2.safetensors', 2, 2)];
    expect(await angles(tied)).toMatchObject({ tensors: 1, parameters: 300 });
    const untied = [await make('u1.safetensors', 1, 1), await make('u2.safetensors', 2, 3)];
    expect(await angles(untied)).toMatchObject({ tensors: 2, parameters: 600 });
  });

  it('names and formats as for a soup; mismatches are refused, all of them', async () => {
    const a = await putTensors(at('a.safetensors'), [tensor('w', 'F32', [300], weights(1))]);
    const b = await putTensors(at('b.safetensors'), [tensor('module.w', 'F32', [300], weights(2))]);
    const c = await putTensors(at('c.safetensors'), [tensor('w', 'F32', [299], weights(2, 299))]);
    expect((await angles([a, b])).distances[0]?.[1]).toBeGreaterThan(1);
    await failure(angles([a, c]), 'MISMATCH');
    await failure(angles([a, b], { base: c }), 'MISMATCH');
    await failure(angles([a]), 'USAGE');
    await failure(angles([a, b], { exclude: ['*'] }), 'USAGE');
    const ints = await putTensors(at('i.safetensors'), [tensor('n', 'I64', [1], [1])]);
    await failure(angles([ints, ints]), 'USAGE');
  });

  it('pairs: by any evaluator; the average against the mean of the two', async () => {
    // An accuracy that is the first weight of the soup, so that averaging gains nothing, and a bonus for mixes.
    const make = (i: number) =>
      putTensors(at(`p${i}.safetensors`), [tensor('w', 'F32', [2], [i / 10, 1 / (i + 1)])]);
    const paths = [await make(1), await make(2), await make(4)];
    const seen: number[][] = [];
    const evaluator = ({ weights: w }: Candidate) => {
      seen.push([...w]);
      const first = w.reduce((sum, x, i) => sum + x * ([0.1, 0.2, 0.4][i] as number), 0);
      const mixed = w.filter((x) => x !== 0).length > 1;
      return { metrics: { accuracy: first + (mixed ? 0.05 : 0) }, loss: 1 - first };
    };
    const base = await putTensors(at('p.safetensors'), [tensor('w', 'F32', [2], [0, 0])]);
    const found = await angles(paths, { base, evaluator });
    expect(seen).toHaveLength(6);
    expect(seen[3]).toEqual([0.5, 0.5, 0]);
    expect(found.models?.map((m) => m.accuracy)).toEqual([0.1, 0.2, 0.4]);
    expect(found.pairs?.map(({ a, b }) => [a, b])).toEqual(pairsOf(3));
    for (const p of found.pairs ?? []) {
      close(p.gain, 0.05);
      close(p.meanLoss, p.loss as number);
      expect(p.angle).toBe(found.taskVectors?.angles[p.a]?.[p.b]);
    }
  });
});

describe('behaviour 16: ingredients that do not share an initialisation', () => {
  /** A network of some matrices: from an initialisation, and a little fine-tuned. */
  const network = (initialisation: number, seed: number): Tensor[] => {
    const [start, own] = [randomNumbers(initialisation), randomNumbers(seed)];
    return [0, 1, 2].flatMap((layer) => [
      tensor(
        `layer.${layer}.weight`,
        'F32',
        [32, 48],
        Array.from({ length: 32 * 48 }, () => start() + own() / 4),
      ),
      tensor(`layer.${layer}.norm.weight`, 'F32', [48], 1),
    ]);
  };
  let same: string[] = [];
  let stranger = '';
  beforeAll(async () => {
    same = await Promise.all(
      [11, 12, 13].map((s) => putTensors(at(`same${s}.safetensors`), network(1, s))),
    );
    stranger = await putTensors(at('stranger.safetensors'), network(2, 14));
  });

  it('a soup warns, and names the stranger', async () => {
    const [a, b, c] = same as [string, string, string];
    const made = await uniform([a, stranger, b, c], at('mixed.safetensors'));
    expect(made.warnings).toHaveLength(1);
    expect(made.warnings[0]).toMatch(
      /^ingredient 1 \(.*stranger\.safetensors\) does not seem to share/,
    );
    const fine = await uniform(same, at('fine.safetensors'));
    expect(fine.warnings).toEqual([]);
  });

  it('a dry run reads nothing, and so does not warn', async () => {
    const dry = await uniform([same[0] as string, stranger], at('dry'), { dryRun: true });
    expect(dry.warnings).toEqual([]);
  });

  it('angles warn too, of a base of another kind as well', async () => {
    const found = await angles(same, { base: stranger });
    expect(found.warnings).toEqual([expect.stringMatching(/^the base \(.*stranger/)]);
    expect((await angles(same)).warnings).toEqual([]);
  });

  it('a soup of real fine-tuned networks does not warn', async ({ skip }) => {
    const eight = (await readdir(join(DIGITS, 'ingredients'))).map((n) =>
      join(DIGITS, 'ingredients', n),
    );
    expect((await uniform(eight, at('digits.safetensors'))).warnings).toEqual([]);
    if (!existsSync(KITCHEN)) skip('the reference cases are not part of the repository');
    const ten = (await readdir(join(KITCHEN, 'ingredients'))).map((n) =>
      join(KITCHEN, 'ingredients', n),
    );
    const found = await angles(ten, { base: join(KITCHEN, 'base') });
    expect(found.warnings).toEqual([]);
    // Fine-tuned with settings of their own, from one point: task vectors that are neither the same nor opposed.
    for (const { angle } of pairsOf(10).map(([a, b]) => ({
      angle: found.taskVectors?.angles[a]?.[b],
    }))) {
      expect(angle).toBeGreaterThan(30);
      expect(angle).toBeLessThan(95);
    }
  });
});

it('correlation: of a line, of noise, of nothing', () => {
  expect(correlation([1, 2, 3, 4], [2, 4, 6, 8])).toBeCloseTo(1, 12);
  expect(correlation([1, 2, 3], [3, 2, 1])).toBeCloseTo(-1, 12);
  // numpy.corrcoef([1, 2, 4, 7], [3, 1, 5, 2])[0, 1]
  expect(correlation([1, 2, 4, 7], [3, 1, 5, 2])).toBeCloseTo(0.03688555567816587, 12);
  expect(correlation([1, 2], [1, 2])).toBeNull();
  expect(correlation([1, 1, 1], [1, 2, 3])).toBeNull();
});

describe('the command', () => {
  let few: Few;
  beforeAll(async () => {
    await mkdir(at('cli'), { recursive: true });
    few = await fewDigits(at('cli', 'few.safetensors'));
  });

  it('gives angles and gains as JSON; the averages are those of plain arithmetic', async () => {
    const args = ['angles', ...three, '--base', BASE, '--by', 'layer', '--data', few.path];
    const { code, out } = await json([...args, '--resume', at('cli', 'kept')]);
    expect(code).toBe(0);
    expect(out.ingredients).toEqual(three);
    expect(out.pairs).toHaveLength(3);
    for (const { a, b, accuracy, gain, meanAccuracy } of out.pairs) {
      expect(gain).toBeCloseTo(accuracy - meanAccuracy, 12);
      const shares = [0, 1, 2].map((i) => (i === a || i === b ? 0.5 : 0));
      const right = accuracyOf(await mixLogits(three, shares, few), few.labels);
      // What is evaluated is rounded to f16, the ingredients' type: one example may lie on the edge.
      expect(Math.abs(accuracy - right)).toBeLessThanOrEqual(1 / few.labels.length);
    }
    const again = await json([...args, '--resume', at('cli', 'kept')]);
    expect({ ...again.out, seconds: 0 }).toEqual({ ...out, seconds: 0 });
  });

  it('prints angles, or why there are none', async () => {
    const done = await stockpot(['angles', ...three, '--base', BASE]);
    expect(done.code).toBe(0);
    expect(done.stdout).toContain('angles between task vectors');
    const without = await stockpot(['angles', ...three]);
    expect(without.code).toBe(0);
    expect(without.stdout).toMatch(/no angles: .*--base/);
    expect((await stockpot(['angles', three[0] as string])).code).toBe(2);
    expect((await stockpot(['angles', ...three, '--base', 'nowhere'])).code).toBe(1);
  });

  it('a shrunk file is an error that names it', async () => {
    const file = at('cli', 'copy.safetensors');
    await copyFile(join(ingredient(0), 'model.safetensors'), file);
    const { truncate } = await import('node:fs/promises');
    await truncate(file, 5000);
    const { code, out } = await json(['angles', ingredient(1), file]);
    expect(code).toBe(1);
    expect(out.error.file).toBe(file);
  });
});
