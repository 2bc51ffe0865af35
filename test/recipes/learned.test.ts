// The learned soup on the repository's own zoo: what it writes, how it is resumed, stopped and refused.
import { existsSync } from 'node:fs';
import { readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openCheckpoint } from '../../lib/checkpoint/open.js';
import { readRecord } from '../../lib/checkpoint/record.js';
import type { ErrorCode } from '../../lib/errors.js';
import { evaluate } from '../../lib/evaluate/evaluate.js';
import type { GradientEvaluator } from '../../lib/evaluate/evaluator.js';
import { type NativeEvaluator, nativeEvaluator } from '../../lib/evaluate/native_evaluator.js';
import type { MixGradient, OpenObjective } from '../../lib/learn/objective.js';
import { packageRoot } from '../../lib/native.js';
import type { LearnedOptions } from '../../lib/recipes/learned/options.js';
import { learned } from '../../lib/recipes/learned.js';
import { uniform } from '../../lib/recipes/uniform.js';
import { verify } from '../../lib/verify.js';
import { start, stockpot } from '../helpers/cli.js';
import { failure } from '../helpers/errors.js';
import { listing, useFolder } from '../helpers/folder.js';
import { numbers, putTensors, readBack, tensor } from '../helpers/safetensors.js';

const at = useFolder();
const digits = join(packageRoot, 'examples/digits');
const data = join(digits, 'heldout');
const ingredients = [0, 1, 2, 3].map((i) => join(digits, 'ingredients', `ft0${i}`));
let evaluator: NativeEvaluator;

beforeAll(async () => {
  evaluator = await nativeEvaluator(ingredients, { data, threads: 2 });
});
afterAll(() => evaluator.close());

const learn = (output: string, options: Partial<LearnedOptions> = {}) =>
  learned(ingredients, output, { evaluator, steps: 6, batchSize: 64, threads: 2, ...options });

describe('a learned soup', () => {
  it('lowers the held-out loss, and says how in its record, which verify proves', async () => {
    for (const by of ['model', 'layer'] as const) {
      const out = at(`soup-${by}`);
      const soup = await learn(out, { by, steps: 12, batchSize: 'full' });
      expect(soup.loss).toHaveLength(12);
      expect(soup.loss.at(-1)).toBeLessThan(soup.loss[0] as number);
      expect(soup.metrics?.loss).toBeLessThan(soup.loss.at(-1) as number);
      const [measured] = (await evaluate([out], { data })).models;
      expect(measured?.accuracy).toBe(soup.accuracy);
      const record = await readRecord(await openCheckpoint(out));
      expect(record?.details).toMatchObject({ by, beta: soup.beta, loss: soup.loss, steps: 12 });
      expect(record?.details?.path).toHaveLength(12);
      expect(record?.mixture?.alpha ?? record?.weights).toEqual(soup.alpha);
      expect((await verify(out)).verified).toBe(true);
    }
  });

  it('without a step is the uniform soup', async () => {
    const soup = await learn(at('none.safetensors'), { steps: 0 });
    const same = await uniform(ingredients, at('uniform.safetensors'));
    const [a, b] = [
      await readBack(at('none.safetensors')),
      await readBack(at('uniform.safetensors')),
    ];
    for (const name of a.tensors.keys()) expect(numbers(a, name)).toEqual(numbers(b, name));
    expect(soup.weights).toEqual(same.weights);
    expect(soup.beta).toBe(1);
  });

  it('of the same seed is the same, of another is another; threads and memory change nothing', async () => {
    const one = await learn(at('s1.safetensors'));
    for (const options of [{ threads: 1 }, { memory: 48e6 }])
      expect((await learn(at('s2.safetensors'), { ...options, overwrite: true })).sha256).not.toBe(
        '',
      );
    const again = await learn(at('s3.safetensors'), { threads: 1, memory: 48e6 });
    expect(again.alpha).toEqual(one.alpha);
    expect(again.loss).toEqual(one.loss);
    const other = await learn(at('s4.safetensors'), { seed: 1 });
    expect(other.loss).not.toEqual(one.loss);
  });

  it('keeps β where it is told to', async () => {
    const soup = await learn(at('cold.safetensors'), { temperature: false });
    expect(soup.beta).toBe(1);
  });

  it('in a dry run says what it would hold, and writes nothing', async () => {
    const plan = await learn(at('dry.safetensors'), { dryRun: true, by: 'layer' });
    expect(plan.plan).toMatchObject({ residence: 'memory', segments: 1 });
    expect(plan.memory).toBe(plan.plan?.memory);
    expect(plan.sha256).toBeNull();
    expect(existsSync(at('dry.safetensors'))).toBe(false);
  });
});

describe('resuming a learned soup', () => {
  it('behaviour 29: an abort in the middle of an epoch leaves nothing but the state, from which it goes on to the same result', async () => {
    const whole = await learn(at('whole.safetensors'), { by: 'layer' });
    const stop = new AbortController();
    const resume = at('state');
    await failure(
      learn(at('stopped.safetensors'), {
        by: 'layer',
        resume,
        signal: stop.signal,
        onStep: ({ step }) => step === 4 && stop.abort(),
      }),
      'ABORTED',
    );
    expect(existsSync(at('stopped.safetensors'))).toBe(false);
    expect(await listing(resume)).toHaveLength(1);
    let steps = 0;
    const onStep = () => steps++;
    const rest = await learn(at('stopped.safetensors'), { by: 'layer', resume, onStep });
    expect(steps).toBe(2);
    expect(rest.alpha).toEqual(whole.alpha);
    expect(rest.beta).toBe(whole.beta);
    expect(rest.loss).toEqual(whole.loss);
    expect(rest.sha256).not.toBeNull();
    const [a, b] = [
      await readBack(at('whole.safetensors')),
      await readBack(at('stopped.safetensors')),
    ];
    for (const name of a.tensors.keys()) expect(numbers(a, name)).toEqual(numbers(b, name));
  });

  it('with other settings begins anew; a damaged state counts for nothing', async () => {
    const resume = at('others');
    const first = await learn(at('o1.safetensors'), { resume, steps: 2 });
    let steps = 0;
    await learn(at('o2.safetensors'), { resume, steps: 2, lr: 0.01, onStep: () => steps++ });
    expect(steps).toBe(2);
    for (const name of await readdir(resume))
      await writeFile(join(resume, name), '{"stockpotLearned":1,');
    steps = 0;
    const again = await learn(at('o3.safetensors'), { resume, steps: 2, onStep: () => steps++ });
    expect(steps).toBe(2);
    expect(again.alpha).toEqual(first.alpha);
    // More steps than before go on; none are repeated.
    steps = 0;
    await learn(at('o4.safetensors'), { resume, steps: 5, onStep: () => steps++ });
    expect(steps).toBe(3);
  });

  it('after kill -9 goes on to the same bytes', async () => {
    const args = (out: string) => [
      ...['learned', ...ingredients, '--data', data, '--steps', '40', '--batch-size', '32'],
      ...['-o', at(out), '--resume', at('killed-state'), '--json', '--quiet'],
    ];
    const undisturbed = await stockpot(
      args('killed-0').map((a) => (a === at('killed-state') ? at('other-state') : a)),
    );
    expect(undisturbed.stderr).toBe('');
    const child = start(args('killed-1'));
    // Killed once a state is there, or when it is done already.
    for (let i = 0; i < 2000 && child.exitCode === null; i++) {
      if (
        existsSync(at('killed-state')) &&
        (await readdir(at('killed-state'))).some((n) => n.endsWith('.json'))
      )
        break;
      await new Promise((r) => setTimeout(r, 5));
    }
    child.kill('SIGKILL');
    await new Promise((r) =>
      child.exitCode === null && child.signalCode === null ? child.on('close', r) : r(0),
    );
    const resumed = await stockpot([...args('killed-1'), '--overwrite']);
    expect(resumed.code).toBe(0);
    const [a, b] = [undisturbed, resumed].map((r) => JSON.parse(r.stdout));
    expect(b.alpha).toEqual(a.alpha);
    expect(b.loss).toEqual(a.loss);
    expect(b.sha256).toBe(a.sha256);
  }, 120_000);
});

/** An evaluator whose loss is what a list says; its derivatives push towards the first ingredient. */
function scripted(losses: readonly number[]): GradientEvaluator {
  const labels = Int32Array.of(0, 1);
  let turn = 0;
  const objective: OpenObjective = {
    groups: [''],
    count: 2,
    labels,
    gradient: async (): Promise<MixGradient> => ({
      loss: losses[turn++] as number,
      alpha: [Float64Array.of(-1, 1)],
      beta: 0.5,
    }),
    logits: async () => Float32Array.of(1, 0, 0, 1),
    close: async () => {},
  };
  return {
    id: 'scripted',
    labels,
    numClasses: 2,
    batches: () => {
      throw new Error('not asked for');
    },
    objective: async () => objective,
    planObjective: () => ({ batch: 2 }) as never,
  };
}

describe('behaviour 28: a loss that is not finite', () => {
  const two = () =>
    Promise.all(
      [1, 2].map((i) => putTensors(at('nan', `${i}.safetensors`), [tensor('w', 'F32', [2], i)])),
    );

  it('ends the run with the last state whose loss was', async () => {
    const paths = await two();
    const state = (steps: number, losses: number[]) =>
      learned(paths, at('nan', `soup-${steps}.safetensors`), {
        evaluator: scripted(losses),
        steps,
      });
    const two_ = await state(2, [1, 0.9]);
    const nan = await state(9, [1, 0.9, 0.8, Number.NaN, 0.1]);
    // Steps 0 to 2 had finite losses: the third iterate is the last that is known to be good.
    expect(nan.alpha).toEqual(two_.alpha);
    expect(nan.loss).toEqual([1, 0.9]);
    expect(nan.steps).toBe(2);
    expect(nan.warnings.join()).toContain('not finite');
  });

  it('at the first step is an error', async () => {
    const paths = await two();
    await failure(
      learned(paths, at('nan', 'first.safetensors'), {
        evaluator: scripted([Number.NaN]),
        steps: 3,
      }),
      'NONFINITE',
    );
    expect(existsSync(at('nan', 'first.safetensors'))).toBe(false);
  });
});

describe('what is refused', () => {
  it.each<[Partial<LearnedOptions>, ErrorCode, string]>([
    [{ by: 'block' as never }, 'USAGE', 'expected by to be one of model, layer, tensor'],
    [{ lr: Number.NaN }, 'USAGE', 'expected lr to be a number from 0'],
    [{ epochs: 2 }, 'USAGE', 'expected epochs or steps, not both'],
    [{ batchSize: 0 }, 'USAGE', 'expected batchSize to be a whole number from 1'],
    [{ weights: [1, 2, 3, 4] } as never, 'USAGE', 'a learned soup chooses its weights itself'],
    [{ evaluator: {} as never }, 'USAGE', 'expected an evaluator'],
    [{ evaluator: () => ({ metrics: { accuracy: 1 } }) }, 'USAGE', 'to give the metric loss'],
    [{ exclude: ['classifier.*'] }, 'MISMATCH', 'the soup has no tensor "classifier.weight"'],
    [{ memory: 2 ** 20 }, 'MEMORY', 'out of memory: a gradient step needs'],
  ])('%o: %s', async (options, code, message) => {
    const e = await failure(learn(at('refused.safetensors'), options), code);
    expect(e.message).toContain(message);
    expect(existsSync(at('refused.safetensors'))).toBe(false);
  });
});

describe('gradient and learned on the command line', () => {
  it('print one JSON object', async () => {
    const g = await stockpot([
      ...['gradient', ...ingredients.slice(0, 2), '--data', data],
      ...['--by', 'layer', '--beta', '1.1', '--weights', '0.4,0.6', '--json'],
    ]);
    expect(g.code, g.stderr).toBe(0);
    const { loss, alpha, beta, byLayer } = JSON.parse(g.stdout);
    expect([typeof loss, typeof beta, alpha.length]).toEqual(['number', 'number', 2]);
    const sums = Object.values<number[]>(byLayer).reduce(
      (s, row) => s.map((x, i) => x + (row[i] as number)),
      [0, 0],
    );
    sums.forEach((x, i) => {
      expect(x).toBeCloseTo(alpha[i], 10);
    });
    const l = await stockpot([
      ...['learned', ...ingredients, '--data', data, '--by', 'tensor', '--steps', '2'],
      ...['--batch-size', 'auto', '--no-temperature', '-o', at('cli.safetensors'), '--json'],
    ]);
    expect(l.code, l.stderr).toBe(0);
    const soup = JSON.parse(l.stdout);
    expect(soup).toMatchObject({ recipe: 'learned', by: 'tensor', beta: 1, steps: 2, ingredients });
    expect(soup.alpha['classifier.weight']).toHaveLength(4);
  });

  it('wrong usage exits with 2', async () => {
    const wrong = await stockpot([
      'learned',
      ingredients[0] as string,
      '--data',
      data,
      '--by',
      'head',
      '-o',
      at('x'),
    ]);
    expect(wrong.code).toBe(2);
    const missing = await stockpot(['learned', ingredients[0] as string, '-o', at('x')]);
    expect(missing.code).toBe(2);
    expect(missing.stderr).toContain('--data');
  });
});
