import { PassThrough } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import { setTimeout } from 'node:timers/promises';
import fc from 'fast-check';
import { beforeAll, describe, expect, it } from 'vitest';
import type { Candidate, ExampleEvaluator } from '../../lib/evaluate/evaluator.js';
import { type GreedyOptions, greedy } from '../../lib/recipes/greedy.js';
import { failure } from '../helpers/errors.js';
import { useFolder } from '../helpers/folder.js';
import { putTensors, tensor } from '../helpers/safetensors.js';
import { MOST, settings, simulated, type Tables, tables } from './simulated.js';

const at = useFolder();
let paths: string[] = [];
beforeAll(async () => {
  paths = await Promise.all(
    Array.from({ length: MOST }, (_, i) =>
      putTensors(at(`${i}.safetensors`), [tensor('w', 'F32', [3], [i, i * i, -i / 3])]),
    ),
  );
});

async function run(k: number, options: GreedyOptions) {
  const output = new PassThrough();
  const [soup] = await Promise.all([
    greedy(paths.slice(0, k), output, options),
    buffer(output).catch(() => {}),
  ]);
  const { seconds: _, ...rest } = soup;
  return rest;
}

/** What several evaluators did between them. */
interface Seen {
  busy: number;
  most: number;
}

/** Evaluators that take their time, and refuse to do two things at once. */
function team(t: Tables, workers: number, pauses: readonly number[]) {
  const seen: Seen = { busy: 0, most: 0 };
  let call = 0;
  const one = (): ExampleEvaluator => {
    const inner = simulated(t, 3);
    let own = 0;
    return {
      ...inner,
      async *batches(soup, order, options) {
        if (own++ > 0) throw new Error('one thing at a time');
        seen.most = Math.max(seen.most, ++seen.busy);
        try {
          for await (const b of inner.batches(soup, order, options)) {
            await setTimeout(pauses[call++ % pauses.length]);
            yield b;
          }
        } finally {
          own--;
          seen.busy--;
        }
      },
    };
  };
  return { seen, evaluators: Array.from({ length: workers }, one) };
}

describe('several evaluators', () => {
  it('make the soup, values and trace that one makes', async () => {
    await fc.assert(
      fc.asyncProperty(
        tables,
        settings,
        fc.integer({ min: 2, max: 4 }),
        fc.array(fc.constantFrom(0, 0, 1, 3), { minLength: 1, maxLength: 9 }),
        async (t, { batch: _, ...options }, workers, pauses) => {
          const k = t.logits.length;
          const one = await run(k, { ...options, evaluator: simulated(t, 3) });
          const { seen, evaluators } = team(t, workers, pauses);
          expect(await run(k, { ...options, evaluator: evaluators })).toEqual(one);
          expect(seen.busy).toBe(0);
          expect(seen.most).toBeLessThanOrEqual(workers);
          if (options.order === 'metric') expect(seen.most).toBe(Math.min(workers, k));
        },
      ),
      { numRuns: 60 },
    );
  });

  /** Every candidate that has a member in it that `good` has not is worse. */
  const only = (good: readonly number[]) => (soup: Candidate) =>
    soup.members.length === 1
      ? 1 - (soup.members[0] as number) / 100
      : soup.members.every((i) => good.includes(i))
        ? 1
        : 0.5;

  it('of functions: what was begun beyond a candidate that is kept is stopped and done again', async () => {
    const log: string[] = [];
    const evaluator = async (soup: Candidate, { signal }: { signal?: AbortSignal }) => {
      const name = soup.members.join();
      try {
        // The one ahead takes long, so that it is still under way when the one before it is kept.
        await setTimeout(name === '0,2' ? 10_000 : 5, undefined, { signal });
      } catch (e) {
        log.push(`${name} stopped`);
        throw e;
      }
      log.push(name);
      return only([0, 1])(soup);
    };
    const soup = await run(3, { evaluator: [evaluator, evaluator] });
    expect(soup.members).toEqual([0, 1]);
    expect(log).toEqual(['0', '1', '2', '0,1', '0,2 stopped', '0,1,2']);
  });

  it('fail as one would: by the first in order, not by what was begun beyond it', async () => {
    const evaluator = (soup: Candidate) => {
      if (soup.members.includes(2) && soup.members.length === 2) throw new Error('too early');
      return only([0, 1, 2])(soup);
    };
    expect((await run(3, { evaluator: [evaluator, evaluator] })).members).toEqual([0, 1, 2]);
    const late = async (soup: Candidate) => {
      if (soup.members.join() === '0,1') {
        await setTimeout(10);
        throw new Error('the first');
      }
      if (soup.members.join() === '0,2') throw new Error('the second');
      return only([])(soup);
    };
    await expect(greedy(paths.slice(0, 3), at('o'), { evaluator: [late, late] })).rejects.toThrow(
      'the first',
    );
  });

  it('behaviour 29: abort stops all of them', async () => {
    const t = fc.sample(tables, { numRuns: 100, seed: 3 }).find((x) => x.logits.length === MOST);
    const { seen, evaluators } = team(t as Tables, 3, [2]);
    const stop = new AbortController();
    const call = greedy(paths, at('o'), {
      evaluator: evaluators,
      signal: stop.signal,
      onStep: () => stop.abort(),
    });
    await failure(call, 'ABORTED');
    expect(seen.busy).toBe(0);
  });

  it('must be alike', async () => {
    const [a, b] = fc.sample(tables, { numRuns: 2, seed: 9 }) as [Tables, Tables];
    const call = (evaluator: GreedyOptions['evaluator']) =>
      failure(greedy(paths.slice(0, 1), at('o'), { evaluator }), 'USAGE');
    await call([simulated(a), simulated(b)]);
    await call([simulated(a), () => 1]);
    await call([() => 1, { id: 'x', evaluate: () => 1 }]);
    await call([() => 1, { labels: Int32Array.of(1), evaluate: () => 1 }]);
    await call([]);
  });
});
