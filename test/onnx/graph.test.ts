import { existsSync } from 'node:fs';
import { cp, readdir, readFile, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { makeCandidate } from '../../lib/evaluate/candidate.js';
import {
  type EvaluationOptions,
  evaluate,
  nativeEvaluator,
  openCheckpoint,
  predict,
  StockpotError,
  uniform,
} from '../../lib/index.js';
import { json, stockpot } from '../helpers/cli.js';
import { failure } from '../helpers/errors.js';
import { decode } from '../helpers/floats.js';
import { useFolder } from '../helpers/folder.js';
import { readBack } from '../helpers/safetensors.js';

const at = useFolder();
const FIXTURES = join(import.meta.dirname, '../fixtures/onnx');
const fixture = (name: string) => join(FIXTURES, name);
const data = fixture('data.safetensors');
const pair = (name: string, ending = '') =>
  [0, 1].map((i) => fixture(`${name}-${i}${ending}.safetensors`));

const expected: Promise<Record<string, number[][]>> = readFile(
  fixture('expected.json'),
  'utf8',
).then(JSON.parse);

/** Logits of a model on the data, in a graph. */
async function logitsOf(model: string, graph: string, more: Partial<EvaluationOptions> = {}) {
  const out = at('logits.safetensors');
  const { notes } = await predict(model, out, { data, graph, overwrite: true, ...more });
  const t = (await readBack(out)).tensors.get('logits');
  return { logits: decode('F32', t?.bytes as Buffer), notes };
}

async function soupOf(name: string, ending = '') {
  const out = at(`${name}${ending}-soup.safetensors`);
  await uniform(pair(name, ending), out, { overwrite: true });
  return out;
}

const expectClose = (found: number[], rows: number[][] | undefined, within: number) => {
  const flat = rows?.flat() ?? [];
  expect(found).toHaveLength(flat.length);
  const most = Math.max(...found.map((x, i) => Math.abs(x - (flat[i] as number))));
  expect(most).toBeLessThan(within);
};

/** float32 in another order of operations. */
const FLOAT32 = 2e-5;

describe("a graph runs with the soup's weights, however it was exported", () => {
  it.for([
    ['mixer', 'mixer-kept.onnx', 'names under a prefix'],
    ['mixer', 'mixer-folded.onnx', 'transposed weights without names'],
    ['mixer', 'mixer-dynamo.onnx', 'the newer exporter, optimised'],
    ['mixer', 'mixer-dynamo-plain.onnx', 'the newer exporter'],
    ['mixer', 'mixer-external.onnx', 'weights in a file beside it'],
    ['mixer', 'mixer-fixed.onnx', 'a fixed number of examples, another name of the input'],
    ['normed', 'normed-kept.onnx', 'batch norm'],
    ['normed', 'normed-dynamo-plain.onnx', 'batch norm, the newer exporter'],
  ] as const)('%s in %s: %s', async ([name, graph]) => {
    // The first ingredient is what the values are compared with; the soup replaces them.
    const soup = await soupOf(name);
    const first = fixture(`${name}-0.safetensors`);
    const alone = await logitsOf(first, fixture(graph));
    expectClose(alone.logits, (await expected)[`${name}-0`], FLOAT32);
    const mixed = await logitsOf(soup, fixture(graph), { graphWeights: first });
    expectClose(mixed.logits, (await expected)[name], FLOAT32);
  });

  it('float16 checkpoints in a float32 graph, and the other way round', async () => {
    const soup = await soupOf('mixer', '-f16');
    const first = fixture('mixer-0-f16.safetensors');
    for (const graph of ['mixer-folded.onnx', 'mixer-kept.onnx']) {
      const { logits } = await logitsOf(soup, fixture(graph), { graphWeights: first });
      expectClose(logits, (await expected).mixer, 2e-2); // weights are rounded to 11 bits
      // As it is saved: the same as the rounded soup written in float32.
      const wide = at('wide.safetensors');
      await uniform([soup], wide, { dtype: 'f32', overwrite: true });
      const again = await logitsOf(wide, fixture(graph), { graphWeights: first });
      expect(again.logits).toEqual(logits);
    }
    const half = await logitsOf(await soupOf('mixer'), fixture('mixer-f16.onnx'), {
      graphWeights: fixture('mixer-0.safetensors'),
    });
    expectClose(half.logits, (await expected).mixer, 5e-2);
  });

  it('weights that an exporter stored once because they were equal', async () => {
    const soup = await soupOf('mixer');
    const { logits } = await logitsOf(soup, fixture('mixer-same.onnx'));
    expectClose(logits, (await expected).mixer, FLOAT32);
  });

  it('leaves no temporary files', async () => {
    const own = async () =>
      (await readdir(tmpdir())).filter((n) => n.startsWith('stockpot-graph-'));
    const before = await own();
    await logitsOf(fixture('mixer-0.safetensors'), fixture('mixer-kept.onnx'));
    expect(await own()).toEqual(before);
  });
});

describe('what cannot be replaced is refused', () => {
  it.for(['normed-folded.onnx', 'normed-dynamo.onnx'])(
    '%s: batch norm folded into convolutions',
    async (graph) => {
      const error = await failure(
        logitsOf(fixture('normed-0.safetensors'), fixture(graph)),
        'MISMATCH',
      );
      expect(error.message).toMatch(/cannot all be replaced \(batch norm/);
      expect(error.remedy).toMatch(/do_constant_folding=False.*TrainingMode\.PRESERVE/);
      const named = error.details.map((d) => d.tensor);
      expect(named).toContain('bn.running_var');
      expect(named.some((n) => /onnx::Conv|conv\.weight/.test(n ?? ''))).toBe(true);
    },
  );

  it('a graph without names that came from none of the ingredients, until that one is named', async () => {
    const [model] = pair('mixer') as [string];
    const graph = fixture('mixer-from-other.onnx');
    const error = await failure(logitsOf(model, graph), 'MISMATCH');
    expect(error.details.map((d) => d.tensor)).toContain('onnx::MatMul_38');
    expect(error.remedy).toMatch(/--graph-weights/);
    const { logits } = await logitsOf(model, graph, {
      graphWeights: fixture('mixer-other.safetensors'),
    });
    expectClose(logits, (await expected)['mixer-0'], FLOAT32);
  });

  it('inputs that the data does not have, and files that are no graph', async () => {
    const model = fixture('mixer-0.safetensors');
    const text = at('text.onnx');
    await writeFile(text, 'no graph');
    expect((await failure(logitsOf(model, text), 'FORMAT')).file).toBe(text);
    await failure(logitsOf(model, at('none.onnx')), 'NOT_FOUND');
    await failure(logitsOf(model, FIXTURES), 'NOT_FOUND');
    const whole = await readFile(fixture('mixer-kept.onnx'));
    for (const cut of [1, 100, 3000, whole.length - 1]) {
      await writeFile(text, whole.subarray(0, cut));
      await failure(logitsOf(model, text), 'FORMAT');
    }
  });

  it('external data that is missing, too short, or elsewhere', async () => {
    const model = fixture('mixer-0.safetensors');
    const graph = at('mixer-external.onnx');
    await cp(fixture('mixer-external.onnx'), graph);
    await failure(logitsOf(model, graph), 'NOT_FOUND');
    await cp(fixture('mixer-external.bin'), at('mixer-external.bin'));
    await truncate(at('mixer-external.bin'), 500);
    expect((await failure(logitsOf(model, graph), 'FORMAT')).message).toMatch(
      /mixer-external\.bin/,
    );
    const bytes = await readFile(graph);
    for (const other of ['/etc/passwd_______', '../x-external.bin_']) {
      const changed = Buffer.from(
        bytes
          .toString('latin1')
          .replaceAll('mixer-external.bin', other.slice(0, 18).padEnd(18, '_')),
        'latin1',
      );
      await writeFile(graph, changed);
      expect((await failure(logitsOf(model, graph), 'FORMAT')).message).toMatch(/beside the graph/);
    }
  });

  it('bytes that were changed at random: an answer or a StockpotError, never anything else', async () => {
    const whole = await readFile(fixture('mixer-kept.onnx'));
    const graph = at('random.onnx');
    let state = 12345;
    const next = () => {
      state = (state * 1103515245 + 12345) & 0x7fffffff;
      return state;
    };
    let refused = 0;
    for (let i = 0; i < 60; i++) {
      const bytes = Buffer.from(whole);
      for (let j = 0; j < 4; j++) bytes[next() % bytes.length] = next() % 256;
      await writeFile(graph, bytes);
      const error = await logitsOf(fixture('mixer-0.safetensors'), graph).then(
        () => undefined,
        (e: unknown) => e,
      );
      if (error === undefined) continue;
      expect(error).toBeInstanceOf(StockpotError);
      refused++;
    }
    expect(refused).toBeGreaterThan(10);
  });
});

describe('an example has the same logits', () => {
  it('whatever is evaluated beside it, and whatever the number of threads', async () => {
    const model = fixture('normed-0.safetensors');
    const graph = fixture('normed-kept.onnx');
    const { logits: all } = await logitsOf(model, graph, { threads: 1 });
    expect((await logitsOf(model, graph, { threads: 3, batchSize: 2 })).logits).toEqual(all);
    const evaluator = await nativeEvaluator([model], { data, graph });
    const soup = makeCandidate('greedy', [await openCheckpoint(model)], [1], {});
    const order = Int32Array.of(4, 1, 5);
    const rows: number[] = [];
    for await (const b of evaluator.batches(soup, order, { beta: 1 })) rows.push(...b.logits);
    await evaluator.close();
    expect(rows).toEqual([...order].flatMap((i) => all.slice(3 * i, 3 * i + 3)));
  });
});

it('tells of the examples that were run', async () => {
  const told: (number | undefined)[] = [];
  const graph = fixture('mixer-kept.onnx');
  await evaluate(pair('mixer'), {
    ...{ data, graph, batchSize: 'auto' },
    onProgress: (p) => told.push(p.pass, p.passes, p.examples, p.examplesTotal),
  });
  expect(told.slice(-4)).toEqual([2, 2, told.at(-1), told.at(-1)]);
  expect(told.at(-1)).toBeGreaterThan(1);
});

interface Method {
  sets: { heldout: { loss: { value: number } } };
}

describe('on the command line', () => {
  it('evaluate, predict, ensemble and greedy take --graph', async () => {
    const graph = ['--data', data, '--graph', fixture('mixer-folded.onnx'), '--json'];
    const models = pair('mixer');
    for (const args of [
      ['evaluate', ...models],
      ['ensemble', ...models],
      ['predict', models[0] as string, '-o', at('p.safetensors')],
      ['greedy', ...models, '-o', at('g.safetensors')],
    ]) {
      const done = await stockpot([...args, ...graph]);
      // The two were not fine-tuned from one network, which a soup says.
      const said = args[0] === 'greedy' ? /^warning: .*initialisation.*\n$/ : /^$/;
      expect([args[0], done.code, done.stderr]).toEqual([args[0], 0, expect.stringMatching(said)]);
    }
    await rm(at('p.safetensors'));
  });

  it('a dry run reads the graph and says what it would hold; nothing is written', async () => {
    const models = pair('mixer');
    const graph = ['--data', data, '--graph', fixture('mixer-folded.onnx'), '--dry-run'];
    const out = at('planned.safetensors');
    const { out: plan } = await json(['evaluate', ...models, ...graph]);
    // Weights of both files, and one set of them in the network.
    expect(plan).toMatchObject({ dryRun: true, ingredients: models, classes: 3 });
    expect(plan.networkBytes).toBe(plan.bytesRead / 2);
    const { code } = await json(['predict', models[0] as string, '-o', out, ...graph]);
    expect([code, existsSync(out)]).toEqual([0, false]);
    const wrong = [...graph.slice(0, 3), fixture('normed-kept.onnx'), '--dry-run'];
    expect((await stockpot(['evaluate', ...models, ...wrong])).code).toBe(1);
  });

  it('angles, landscape, gap and compare take --graph, and see the losses that evaluate sees', async () => {
    const graph = ['--data', data, '--graph', fixture('mixer-folded.onnx')];
    const models = pair('mixer');
    const { out: alone } = await json(['evaluate', ...models, ...graph]);
    const losses = alone.models.map((m: { loss: number }) => m.loss);
    const { out: angles } = await json(['angles', ...models, ...graph]);
    expect(angles.models.map((m: { loss: number }) => m.loss)).toEqual(losses);
    const { out: line } = await json(['landscape', ...models, ...graph, '--line', '--grid', '2']);
    const ends = line.points.map((p: { scores: Record<string, { loss: number }> }) => p.scores);
    expect(ends.map((s: Record<string, { loss: number }>) => s.heldout?.loss)).toEqual(losses);
    const { out: gap } = await json(['gap', ...models, ...graph, '--alphas', '0']);
    expect(gap.points[0].soupLoss).toBeCloseTo(losses[0], 6);
    const { code, out } = await json(['compare', ...models, ...graph, '--resamples', '100']);
    expect([code, out.flops]).toEqual([0, null]);
    const kinds = (kind: string) => out.methods.filter((m: { kind: string }) => m.kind === kind);
    const single = kinds('individual').map((m: Method) => m.sets.heldout.loss.value);
    expect(new Set(single)).toEqual(new Set(losses));
    expect(kinds('learned')).toHaveLength(1);
  });

  it('a device that ONNX Runtime lacks is refused, with what to install', async () => {
    const { code, stderr } = await stockpot([
      'evaluate',
      fixture('mixer-0.safetensors'),
      '--data',
      data,
      '--graph',
      fixture('mixer-kept.onnx'),
      '--device',
      'cuda',
    ]);
    expect([code, stderr]).toEqual([1, expect.stringMatching(/onnxruntime-node-install=cuda/)]);
  });
});
