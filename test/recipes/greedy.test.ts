import { existsSync } from 'node:fs';
import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import fc from 'fast-check';
import { beforeAll, describe, expect, it } from 'vitest';
import type { Candidate, ExampleEvaluator } from '../../lib/evaluate/evaluator.js';
import { allMetrics, type Metric } from '../../lib/evaluate/metrics.js';
import { inspect, uniform } from '../../lib/index.js';
import type { GreedyStep } from '../../lib/recipes/greedy/choose.js';
import { type GreedyOptions, greedy } from '../../lib/recipes/greedy.js';
import { failure } from '../helpers/errors.js';
import { listing, useFolder } from '../helpers/folder.js';
import { asObject, parse, putTensors, readBack, tensor } from '../helpers/safetensors.js';
import { MOST, mix, settings, simulated, type Tables, tables } from './simulated.js';

const at = useFolder();

let paths: string[] = [];

beforeAll(async () => {
  paths = await Promise.all(
    Array.from({ length: MOST }, (_, i) =>
      putTensors(at(`${i}.safetensors`), [
        tensor('w', 'F32', [3], [i + 0.1, i * i, -i / 3]),
        tensor('n', 'I64', [1], [7]),
      ]),
    ),
  );
});

/** The recipe as the paper's appendix has it, everything evaluated in full. */
function paper(t: Tables, metric: Metric, accept: 'ge' | 'gt', how: 'metric' | 'given') {
  const k = t.logits.length;
  const value = (members: number[]) => {
    const weights = Array.from({ length: k }, (_, i) =>
      members.includes(i) ? 1 / members.length : 0,
    );
    const v = allMetrics(mix(t, weights), t.labels)[metric];
    return Number.isNaN(v) ? Number.NEGATIVE_INFINITY : metric === 'loss' ? -v : v;
  };
  const order = [...Array(k).keys()];
  if (how === 'metric') {
    const alone = order.map((i) => value([i]));
    order.sort((a, b) =>
      alone[a] === alone[b] ? a - b : (alone[b] as number) - (alone[a] as number),
    );
  }
  let members = [order[0] as number];
  let best = value(members);
  const kept = order.slice(1).map((i) => {
    const v = value([...members, i]);
    const yes = v > best || (accept === 'ge' && v === best && v !== Number.NEGATIVE_INFINITY);
    if (yes) {
      members = [...members, i];
      best = v;
    }
    return yes;
  });
  return { order, members, kept, best };
}

const stream = () => new PassThrough();
async function run(t: Tables, options: Omit<GreedyOptions, 'evaluator'> & Partial<GreedyOptions>) {
  const output = stream();
  const [soup] = await Promise.all([
    greedy(paths.slice(0, t.logits.length), output, { evaluator: simulated(t), ...options }),
    buffer(output).catch(() => {}),
  ]);
  return soup;
}

describe('greedy soups', () => {
  it('behaviour 27: are the paper’s, whatever is rejected early', async () => {
    await fc.assert(
      fc.asyncProperty(tables, settings, async (t, s) => {
        const { batch, ...options } = s;
        const evaluator = simulated(t, batch);
        const soup = await run(t, { ...options, evaluator });
        const wanted = paper(t, s.metric, s.accept, s.order);
        expect(soup.order).toEqual(wanted.order);
        expect(soup.members).toEqual(wanted.members);
        expect(soup.trace.map((x) => x.kept)).toEqual(wanted.kept);
        expect(soup.trace.map((x) => x.candidate)).toEqual(wanted.order.slice(1));
        const value = soup.value as number;
        const shown = Number.isNaN(value)
          ? Number.NEGATIVE_INFINITY
          : s.metric === 'loss'
            ? -value
            : value;
        expect(shown).toBe(wanted.best);
        const m = soup.members.length;
        expect(soup.weights).toEqual(
          Array.from({ length: t.logits.length }, (_, i) => (soup.members.includes(i) ? 1 / m : 0)),
        );
        for (const step of soup.trace) {
          if (step.kept) expect([step.value, step.evaluated]).not.toContain(null);
          if (step.value !== null) expect(step.evaluated).toBe(t.labels.length);
          else expect(step.evaluated).toBeLessThan(t.labels.length);
        }
      }),
      { numRuns: 150 },
    );
  });

  it('are the same from a function that gives only the metric', async () => {
    await fc.assert(
      fc.asyncProperty(tables, settings, async (t, { batch: _, ...options }) => {
        const known = await run(t, options);
        const value = (soup: Candidate) =>
          allMetrics(mix(t, soup.weights), t.labels)[options.metric];
        const plain = await run(t, { ...options, evaluator: value });
        expect(plain.members).toEqual(known.members);
        expect(plain.order).toEqual(known.order);
        expect(plain.value).toBe(known.value);
        expect(plain.trace.every((s) => s.value !== null && s.evaluated === null)).toBe(true);
      }),
      { numRuns: 40 },
    );
  });

  it('are uniform of their members, bit for bit, and say what they are', async () => {
    const t = fc.sample(tables, { numRuns: 400, seed: 4 }).find((x) => {
      const { members } = paper(x, 'loss', 'ge', 'metric');
      return x.logits.length === MOST && members.length === 3 && members[0] !== 0;
    }) as Tables;
    const steps: GreedyStep[] = [];
    const out = at('soup.safetensors');
    const soup = await greedy(paths, out, {
      evaluator: simulated(t),
      metric: 'loss',
      onStep: (s) => steps.push(s),
    });
    expect(soup).toMatchObject({
      recipe: 'greedy',
      metric: 'loss',
      ingredients: paths,
      output: out,
    });
    expect(steps).toEqual(soup.trace);
    expect((await inspect(out)).record?.details).toEqual({
      metric: 'loss',
      value: soup.value,
      accept: 'ge',
      order: soup.order,
      accepted: soup.members,
      evaluator: simulated(t).id,
    });
    const rising = [...soup.members].sort((a, b) => a - b);
    await uniform(
      rising.map((i) => paths[i] as string),
      at('mean.safetensors'),
    );
    expect(asObject(await readBack(out))).toEqual(asObject(await readBack(at('mean.safetensors'))));
    const chosen = allMetrics(mix(t, soup.weights), t.labels);
    expect(soup.value).toBe(chosen.loss);
    expect(soup.accuracy).toBe(chosen.accuracy);
    await failure(greedy(paths, out, { evaluator: simulated(t) }), 'OUTPUT');
  });

  const same = (k: number, n = 9): Tables => ({
    labels: new Int32Array(n),
    classes: 2,
    logits: Array.from({ length: k }, () =>
      Float32Array.from({ length: 2 * n }, (_, i) => (i * 7) % 5),
    ),
  });

  it('behaviour 25: of one ingredient, of equal ones, and of one example', async () => {
    expect(await run(same(1), {})).toMatchObject({ order: [0], members: [0], trace: [] });
    const equal = await run(same(4), {});
    expect(equal).toMatchObject({ order: [0, 1, 2, 3], members: [0, 1, 2, 3] });
    expect(equal.trace.every((s) => s.kept && s.value === equal.value)).toBe(true);
    expect((await run(same(4), { accept: 'gt' })).members).toEqual([0]);
    expect((await run(same(3, 1), {})).members).toEqual([0, 1, 2]);
  });

  it('behaviour 25: leave out what has a metric of NaN, and say when nothing else is there', async () => {
    const values = [Number.NaN, 0.5, Number.NaN, 0.5];
    const evaluator = (soup: Candidate) =>
      soup.members.length === 1
        ? (values[soup.members[0] as number] as number)
        : soup.members.some((i) => Number.isNaN(values[i]))
          ? Number.NaN
          : 0.6;
    const t = same(4);
    const soup = await run(t, { evaluator });
    expect(soup).toMatchObject({ order: [1, 3, 0, 2], members: [1, 3], value: 0.6, accuracy: 0.6 });
    const none = await run(t, { evaluator: () => Number.NaN });
    expect(none).toMatchObject({ members: [0], value: Number.NaN });
    expect(none.warnings.join()).toContain('NaN');
    // In the order given, a start of NaN is left behind by the first soup that has a metric.
    const late = await run(t, {
      order: 'given',
      evaluator: (s) => (s.members.length > 1 ? 0.1 : Number.NaN),
    });
    expect(late.members).toEqual([0, 1, 2, 3]);
  });

  it('evaluate only the first alone in the order given', async () => {
    const evaluator = simulated(same(3));
    await run(same(3), { evaluator, order: 'given' });
    expect(evaluator.soups).toEqual(['0', '0,1', '0,1,2']);
  });

  it('hand a function what it needs to save the candidate', async () => {
    const sizes: number[] = [];
    const evaluator = async (soup: Candidate) => {
      const path = at('candidate.safetensors');
      await soup.save(path);
      const { tensors } = await readBack(path);
      expect(tensors.get('w')?.dtype).toBe('F16');
      const streamed = stream();
      const [bytes] = await Promise.all([buffer(streamed), soup.save(streamed)]);
      expect(asObject(parse(bytes))).toEqual(asObject(await readBack(path)));
      sizes.push(soup.members.length);
      return { metrics: { accuracy: 0.5, f1: 0.25 }, loss: 1 };
    };
    const soup = await run(same(2), { evaluator, dtype: 'f16' });
    expect(sizes).toEqual([1, 1, 2]);
    expect(soup).toMatchObject({ value: 0.5, accuracy: 0.5, members: [0, 1] });
  });

  it('refuse before anything is evaluated', async () => {
    let calls = 0;
    const evaluator = () => ++calls;
    const odd = await putTensors(at('odd.safetensors'), [tensor('w', 'F32', [4], 0)]);
    await failure(greedy([paths[0] as string, odd], at('o'), { evaluator }), 'MISMATCH');
    await failure(greedy([], at('o'), { evaluator }), 'USAGE');
    await failure(greedy(paths, paths[0] as string, { evaluator, overwrite: true }), 'OUTPUT');
    const bad = (options: object) =>
      failure(greedy(paths, at('o'), { evaluator, ...options } as GreedyOptions), 'USAGE');
    await bad({ metric: 'recall' });
    await bad({ accept: 'le' });
    await bad({ order: 'random' });
    await bad({ weights: [1, 2] });
    await bad({ evaluator: 'accuracy' });
    await bad({ resume: at('r') });
    expect(calls).toBe(0);
    const plan = await greedy(paths, at('o'), { evaluator, dryRun: true });
    expect(plan).toMatchObject({ dryRun: true, trace: [], value: null });
    expect(calls).toBe(0);
    expect(existsSync(at('o'))).toBe(false);
  });

  it('pass on a failing evaluator, and stop when told to', async () => {
    const broken = greedy(paths, at('o'), {
      evaluator: () => {
        throw new Error('no GPU today');
      },
    });
    await expect(broken).rejects.toThrow('no GPU today');
    const abort = new AbortController();
    let ended = false;
    const inner = simulated(same(3), 2);
    const evaluator: ExampleEvaluator = {
      ...inner,
      async *batches(soup, order, options) {
        try {
          for await (const b of inner.batches(soup, order, options)) {
            yield b;
            if (soup.members.length > 1) abort.abort();
          }
        } finally {
          ended = true;
        }
      },
    };
    const call = greedy(paths.slice(0, 3), at('o'), { evaluator, signal: abort.signal });
    await failure(call, 'ABORTED');
    expect(ended).toBe(true);
    expect((await listing(at())).filter((n) => n.startsWith('.') || n === 'o')).toEqual([]);
  });
});

describe('greedy soups that were interrupted', () => {
  const tablesOf = (seed: number): Tables =>
    fc.sample(tables, { numRuns: 200, seed }).find((x) => x.logits.length >= 5) as Tables;

  it('behaviour 26: go on where they were, with the same result', async () => {
    for (const [seed, metric] of [
      [1, 'accuracy'],
      [2, 'loss'],
      [3, 'matthews'],
    ] as const) {
      const t = tablesOf(seed);
      const { seconds: _, ...whole } = await run(t, { metric });
      const all = simulated(t);
      await run(t, { metric, evaluator: all });
      for (let stop = 0; stop <= all.soups.length; stop++) {
        const resume = at(`resume-${metric}-${stop}`);
        const killed = simulated(t);
        const dies: ExampleEvaluator = {
          ...killed,
          async *batches(soup, order, options) {
            if (killed.soups.length >= stop) throw new Error('killed');
            yield* killed.batches(soup, order, options);
          },
        };
        const broken = run(t, { metric, resume, evaluator: dies }).catch((e) => e);
        if (stop < all.soups.length) expect(await broken).toMatchObject({ message: 'killed' });
        await broken;
        const second = simulated(t);
        const { seconds: __, ...resumed } = await run(t, { metric, resume, evaluator: second });
        expect(resumed).toEqual(whole);
        expect([...killed.soups, ...second.soups]).toEqual(all.soups);
      }
    }
  });

  it('behaviour 26: evaluate again what was kept for something else, or is damaged', async () => {
    const t = tablesOf(5);
    const resume = at('kept');
    await run(t, { resume });
    const files = await readdir(resume);
    expect(files.every((n) => /^[0-9a-f]{64}\.json$/.test(n))).toBe(true);
    const count = async (tt: Tables, options: Partial<GreedyOptions> = {}) => {
      const evaluator = simulated(tt);
      await run(tt, { resume, evaluator, ...options });
      return evaluator.soups.length;
    };
    expect(await count(t)).toBe(0);
    expect(await count(t, { dtype: 'f16' })).toBe(files.length);
    expect(await count(tablesOf(6))).toBeGreaterThan(0);
    // Wrong JSON, and scores of another number of examples.
    const [a = '', b = ''] = files.map((n) => join(resume, n));
    await writeFile(a, '{"stockpotEvaluation":1');
    const kept = JSON.parse(await readFile(b, 'utf8'));
    await writeFile(b, JSON.stringify({ ...kept, value: 0.5, scores: { prediction: 'AAAA' } }));
    expect(await count(t)).toBe(2);
    expect(await count(t)).toBe(0);
  });

  it('keep what a function with an id gave', async () => {
    const t = tablesOf(7);
    let calls = 0;
    const evaluator = {
      id: 'mine',
      evaluate: (soup: Candidate) => {
        calls++;
        return soup.members.length > 1 ? Number.NaN : 0.5;
      },
    };
    const first = await run(t, { evaluator, resume: at('function') });
    const n = calls;
    const second = await run(t, { evaluator, resume: at('function') });
    expect(calls).toBe(n);
    expect(second.trace).toEqual(first.trace);
    expect(second.trace.every((s) => Number.isNaN(s.value))).toBe(true);
  });
});
