// Running networks: abort at any moment, worker threads, progress, and sets of data that are odd but valid.
import { existsSync, readdirSync } from 'node:fs';
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { describe, expect, it } from 'vitest';
import {
  ensemble,
  evaluate,
  greedy,
  nativeEvaluator,
  type Progress,
  predict,
  uniform,
} from '../../lib/index.js';
import { native, packageRoot } from '../../lib/native.js';
import { finished, jsonOf, root, start, startScript } from '../helpers/cli.js';
import { failure } from '../helpers/errors.js';
import { listing, useFolder } from '../helpers/folder.js';
import { putTensors, readBack, tensor } from '../helpers/safetensors.js';

const at = useFolder();
const digits = join(packageRoot, 'examples/digits');
const heldout = join(digits, 'heldout');
const models = readdirSync(join(digits, 'ingredients'))
  .sort()
  .map((name) => join(digits, 'ingredients', name));
const [first, second] = models as [string, string];

/** Images for the models of examples/digits: 3 × 8 × 8. */
const dataOf = (name: string, labels: number[]) =>
  putTensors(at(name), [
    tensor(
      'pixel_values',
      'F32',
      [labels.length, 3, 8, 8],
      Array.from({ length: labels.length * 192 }, (_, i) => Math.sin(i * i)),
    ),
    tensor('labels', 'I64', [labels.length], labels),
  ]);

describe('behaviour 25: odd data', () => {
  it('behaviour 25: one example, and fewer classes in the data than in the head', async () => {
    const one = await dataOf('one.safetensors', [3]);
    const { models: measured } = await evaluate(models, { data: one });
    for (const m of measured) {
      expect(m.n).toBe(1);
      expect([0, 1]).toContain(m.accuracy);
      expect(Number.isFinite(m.loss)).toBe(true);
    }
    const evaluator = await nativeEvaluator(models, { data: one });
    const soup = await greedy(models, at('one'), { evaluator });
    await evaluator.close();
    expect(soup.order).toEqual(
      [...models.keys()].sort(
        (a, b) => (measured[b]?.accuracy as number) - (measured[a]?.accuracy as number) || a - b,
      ),
    );
    expect(soup.trace).toHaveLength(models.length - 1);
    const few = await dataOf('few.safetensors', [1, 1, 4, 1, 4]);
    for (const m of (await evaluate([first], { data: few })).models)
      for (const x of [m.accuracy, m.loss, m.ece, m.f1, m.matthews])
        expect(Number.isFinite(x)).toBe(true);
  });

  it('behaviour 25: one ingredient, and equal ones: all are kept, and the soup is the ingredient', async () => {
    const run = async (ingredients: string[], name: string) => {
      const evaluator = await nativeEvaluator(ingredients, { data: heldout });
      const soup = await greedy(ingredients, at(name), { evaluator });
      await evaluator.close();
      return soup;
    };
    const alone = await run([first], 'alone.safetensors');
    expect(alone).toMatchObject({ order: [0], members: [0], trace: [] });
    const equal = await run([first, first, first], 'equal.safetensors');
    expect(equal.members).toEqual([0, 1, 2]);
    expect(equal.value).toBe(alone.value);
    expect(equal.trace.every((s) => s.kept && s.value === alone.value)).toBe(true);
    expect(equal.warnings.join()).toContain('hold the same tensors');
    const [a, b] = [
      await readBack(at('alone.safetensors')),
      await readBack(at('equal.safetensors')),
    ];
    for (const [name, t] of a.tensors)
      expect(Buffer.compare(t.bytes, b.tensors.get(name)?.bytes as Uint8Array)).toBe(0);
  });

  it('behaviour 25: labels out of range are refused with file and label', async () => {
    const data = await dataOf('beyond.safetensors', [1, 10]);
    for (const call of [
      () => evaluate([first], { data }),
      () => ensemble([first, second], { data }),
      () => predict(first, at('p.safetensors'), { data }),
      () => nativeEvaluator([first], { data }),
    ]) {
      const error = await failure(call(), 'MISMATCH');
      expect(error.message).toContain('beyond.safetensors');
      expect(error.message).toContain('10');
    }
    expect(existsSync(at('p.safetensors'))).toBe(false);
    await failure(evaluate([first], { data: await dataOf('under.safetensors', [-1]) }), 'FORMAT');
  });

  it('behaviour 25: a metric of NaN loses against every number', async () => {
    const broken = at('broken');
    await uniform([first], broken, { dtype: 'f32' });
    const file = join(broken, 'model.safetensors');
    const bytes = await readFile(file);
    // Finite weights so large that sums of their products are not.
    const begin = 8 + Number(bytes.readBigUInt64LE(0));
    for (let i = begin; i < bytes.length; i += 4) bytes.writeFloatLE(i % 8 ? 3e38 : -3e38, i);
    await writeFile(file, bytes);
    const { models: measured } = await evaluate([broken, first], { data: heldout });
    expect(measured[0]?.loss).toBeNaN();
    const evaluator = await nativeEvaluator([broken, first], { data: heldout });
    for (const metric of ['loss', 'accuracy'] as const) {
      const soup = await greedy([broken, first], at(`nan-${metric}`), { evaluator, metric });
      expect(soup).toMatchObject({ order: [1, 0], members: [1] });
      expect(soup.value).toBe(measured[1]?.[metric]);
    }
    await evaluator.close();
  });
});

describe('behaviour 26: a killed run goes on', () => {
  it('behaviour 26: after kill -9, with the result of one that was not killed', async () => {
    const args = (out: string, resume: string) =>
      [
        'greedy',
        ...models,
        '--data',
        heldout,
        '-o',
        at(out),
        '--resume',
        at(resume),
        '--json',
      ] as const;
    const whole = jsonOf(await finished(start(args('whole', 'all'))));
    const all = await listing(at('all'));
    await mkdir(at('some'));
    const child = start(args('killed', 'some'));
    const ended = finished(child);
    while (child.exitCode === null && (await listing(at('some'))).length < 3)
      await new Promise((r) => setTimeout(r, 1));
    child.kill('SIGKILL');
    expect((await ended).signal).toBe('SIGKILL');
    expect(existsSync(at('killed'))).toBe(false);
    const kept = (await listing(at('some'))).filter((n) => n.endsWith('.json'));
    const again = jsonOf(await finished(start(args('killed', 'some'))));
    for (const field of ['order', 'members', 'value', 'accuracy', 'trace', 'weights', 'sha256'])
      expect(again[field]).toEqual(whole[field]);
    // What was evaluated has the names of the whole run's evaluations, and was not written again.
    expect(all).toEqual(expect.arrayContaining(kept));
    expect((await listing(at('some'))).filter((n) => n.endsWith('.json'))).toEqual(all);
  });
});

/** Calls that run a network on the digits, each with a path of its own. */
const CALLS = {
  evaluate: (o: object) => evaluate(models, { data: heldout, batchSize: 16, ...o }),
  ensemble: (o: object) => ensemble(models, { data: heldout, batchSize: 16, ...o }),
  predict: (o: object) =>
    predict(first, at('gone/p.safetensors'), { data: heldout, batchSize: 16, ...o }),
  greedy: async (o: object) => {
    const evaluator = await nativeEvaluator(models, { data: heldout, batchSize: 16, ...o });
    try {
      return await greedy(models, at('gone/soup'), { evaluator, ...o });
    } finally {
      await evaluator.close();
    }
  },
};

describe('behaviour 29: abort while a network runs', () => {
  it.for(Object.keys(CALLS) as (keyof typeof CALLS)[])(
    'behaviour 29: %s, at any moment: nothing is left, memory is free, the process goes on',
    async (name) => {
      await mkdir(at('gone'), { recursive: true });
      const moments: ((p: Progress) => boolean)[] = [
        (p) => p.phase === 'prepare',
        (p) => p.phase === 'evaluate',
        (p) => p.phase === 'evaluate' && (p.pass ?? 1) >= Math.min(3, p.passes ?? 1),
      ];
      for (const moment of moments) {
        const stop = new AbortController();
        const onProgress = (p: Progress) => {
          if (moment(p)) stop.abort();
        };
        await failure(CALLS[name]({ signal: stop.signal, onProgress }), 'ABORTED');
        expect(stop.signal.aborted).toBe(true);
        expect(await listing(at('gone'))).toEqual([]);
        expect(native().memoryHeld()).toEqual({ buffers: 0, networks: 0 });
      }
      await failure(CALLS[name]({ signal: AbortSignal.abort() }), 'ABORTED');
      await CALLS[name]({});
      await rm(at('gone'), { recursive: true });
    },
  );

  it('behaviour 29: SIGINT while the greedy recipe runs: exit 130, nothing left', async () => {
    const child = start([
      ...['greedy', ...models, '--data', heldout, '-o', at('interrupted'), '--json'],
      ...['--resume', at('evaluations')],
    ]);
    const ended = finished(child);
    while (child.exitCode === null && (await listing(at('evaluations')).catch(() => [])).length < 2)
      await new Promise((r) => setTimeout(r, 1));
    child.kill('SIGINT');
    const done = await ended;
    expect(done.code).toBe(130);
    expect(jsonOf(done).error.code).toBe('ABORTED');
    expect((await listing(at())).filter((n) => n.includes('interrupted'))).toEqual([]);
    expect((await listing(at('evaluations'))).filter((n) => n.includes('partial'))).toEqual([]);
  });
});

/** Workers that evaluate: some to their end, one that is terminated while its network runs. */
const WORKERS = `
  import { Worker } from 'node:worker_threads';
  const [library, models, data] = JSON.parse(process.env.JOB);
  const code = \`
    import { parentPort, workerData } from 'node:worker_threads';
    const { evaluate } = await import(workerData.library);
    do {
      const { models } = await evaluate(workerData.models, {
        data: workerData.data, threads: 2, memory: 2 ** 25,
        onProgress: (p) => p.phase === 'evaluate' && parentPort.postMessage('evaluating'),
      });
      parentPort.postMessage(models.map((m) => m.accuracy).join());
    } while (workerData.endless);
  \`;
  const url = new URL('data:text/javascript,' + encodeURIComponent(code));
  const work = (endless) => new Promise((resolve) => {
    const worker = new Worker(url, { workerData: { library, models, data, endless } });
    let last;
    worker.on('message', (m) => {
      last = m;
      if (endless && m === 'evaluating') worker.terminate();
    });
    worker.on('error', (e) => resolve(String(e)));
    worker.on('exit', () => resolve(last));
  });
  const results = await Promise.all([work(false), work(false), work(false), work(true), work(true)]);
  const { models: here } = await stockpot.evaluate(models, { data });
  console.log(JSON.stringify([...results, here.map((m) => m.accuracy).join()]));
`;

describe('behaviour 29: worker threads', () => {
  it('behaviour 29: evaluate at the same time; ended mid-run, the process goes on', async () => {
    const library = pathToFileURL(join(root, 'dist/index.js')).href;
    const JOB = JSON.stringify([library, models.slice(0, 3), heldout]);
    const child = startScript(WORKERS, { env: { ...process.env, JOB } });
    const { code, signal, stdout, stderr } = await finished(child);
    expect([code, signal, stderr]).toEqual([0, null, '']);
    const results = JSON.parse(stdout) as string[];
    const whole = results.at(-1);
    expect(results.slice(0, 3)).toEqual([whole, whole, whole]);
    for (const ended of results.slice(3, 5)) expect(ended).toBe('evaluating');
  });
});
