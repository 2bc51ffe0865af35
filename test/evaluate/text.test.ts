import { mkdirSync, writeFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { beforeAll, describe, expect, it } from 'vitest';
import { openCheckpoint } from '../../lib/checkpoint/open.js';
import { openDataSet } from '../../lib/data/open.js';
import type { DataSet } from '../../lib/data/types.js';
import { bucketLengths } from '../../lib/evaluate/buckets.js';
import { allMetrics } from '../../lib/evaluate/metrics.js';
import { NativeNetwork } from '../../lib/evaluate/native_network.js';
import { Session } from '../../lib/evaluate/session.js';
import { matchTensors } from '../../lib/merge/match.js';
import { planTensors } from '../../lib/merge/plan.js';
import { resolveWeights } from '../../lib/merge/weights.js';
import { buildNetwork, findConfig } from '../../lib/models/index.js';
import { glue, json, tokenizerJson } from '../fixtures/text/read.js';
import { stockpot } from '../helpers/cli.js';
import { failure } from '../helpers/errors.js';
import { useFolder } from '../helpers/folder.js';

const at = useFolder();
const expected = json('glue_expected.json');
const models = (kind: string): string[] => [0, 1, 2].map((i) => glue(`${kind}${i}`));
const WORDS = glue('words.txt');

/** Tokenizers are not in the models' folders, as they are packed. */
const tokenizer = (kind: string): string => at(`${kind}.json`);
const options = (kind: string) => ({
  tokenizer: tokenizer(kind),
  labelWords: kind === 't5' ? WORDS : undefined,
});
const flags = (kind: string) => [
  '--tokenizer',
  tokenizer(kind),
  ...(kind === 't5' ? ['--label-words', WORDS] : []),
];

beforeAll(() => {
  mkdirSync(at('.'), { recursive: true });
  writeFileSync(at('bert.json'), tokenizerJson('wordpiece'));
  writeFileSync(at('t5.json'), tokenizerJson('unigram'));
});

const KINDS = ['bert', 't5'];
const FILES = ['sst2', 'mrpc', 'rte', 'cola'];
const CASES = KINDS.flatMap((kind) => FILES.map((name) => [kind, name] as const));

describe('a network on GLUE’s files gives what transformers gives', () => {
  it.each(CASES)('%s on %s: logits and metrics', async (kind, name) => {
    const wanted = expected[kind][name];
    const session = await Session.open(models(kind).slice(0, 1), {
      ...options(kind),
      data: glue(`${name}.tsv`),
    });
    await session.load([0]);
    const logits = await session.logits();
    for (const [i, x] of wanted.logits.flat().entries())
      expect(Math.abs((logits[i] as number) - x) / Math.max(1, Math.abs(x))).toBeLessThan(2e-5);
    const found = allMetrics(logits, session.data.labels);
    for (const metric of ['accuracy', 'f1', 'matthews', 'loss'] as const)
      expect(found[metric], metric).toBeCloseTo(wanted[metric], metric === 'loss' ? 5 : 12);
    await session.close();
  });

  it.each([
    ['bert', 'mrpc'],
    ['bert', 'cola'],
    ['t5', 'mrpc'],
    ['t5', 'cola'],
  ])('%s on %s: the greedy soup by its metric, from the command line', async (kind, name) => {
    const { metric, order, members, value } = expected[kind][name].greedy;
    const run = await stockpot([
      'greedy',
      ...models(kind),
      ...['--data', glue(`${name}.tsv`), ...flags(kind), '--metric', metric],
      ...['-o', at(`${kind}-${name}.safetensors`), '--json'],
    ]);
    const soup = JSON.parse(run.stdout);
    expect(soup.order).toEqual(order);
    expect([...soup.members].sort()).toEqual(members);
    expect(soup.value).toBeCloseTo(value, 12);
  });

  it('with JSON lines alike', async () => {
    const run = await stockpot([
      ...['evaluate', glue('bert0'), '--json', ...flags('bert')],
      ...['--data', glue('sst2.tsv')],
    ]);
    const table = (await readFile(glue('sst2.tsv'), 'utf8')).trimEnd().split('\n').slice(1);
    const lines = table.map((row) => {
      const [sentence, label] = row.split('\t');
      return JSON.stringify({ sentence, label: Number(label) });
    });
    writeFileSync(at('sst2.jsonl'), lines.join('\n'));
    const other = await stockpot([
      ...['evaluate', glue('bert0'), '--json', ...flags('bert')],
      ...['--data', at('sst2.jsonl')],
    ]);
    expect(JSON.parse(other.stdout)).toEqual(JSON.parse(run.stdout));
  });
});

describe('padding', () => {
  /** Logits of all examples by a network for these lengths. */
  async function logitsBy(kind: string, data: DataSet, lengths: readonly number[], variant = '') {
    const checkpoint = await openCheckpoint(glue(`${kind}0`));
    const config = await findConfig(checkpoint.path);
    const ids = data.shared.label_ids;
    const columns = ids?.shape[1] as number;
    const of = (sequenceLength: number) =>
      buildNetwork(checkpoint, config, {
        sequenceLength,
        inputs: data.inputs.map((i) => i.name),
        labelIds:
          ids &&
          Array.from({ length: ids.shape[0] as number }, (_, r) => [
            ...ids.data.slice(r * columns, (r + 1) * columns),
          ]),
      });
    const longest = data.inputs[0]?.shape[0] as number;
    const network = NativeNetwork.create(of(longest), {
      threads: 2,
      variant,
      shorter: lengths.map((length) => ({ length, value: of(length).graph })),
    });
    const weighting = resolveWeights(1, [1]);
    const { tensors } = await matchTensors([checkpoint], {});
    await network.load([checkpoint], planTensors(tensors, weighting, 'keep'));
    return network.logits(data, [...Array(data.count).keys()]);
  }

  it.each(KINDS)('changes no bit of a logit, whatever the lengths: %s', async (kind) => {
    for (const name of ['sst2', 'mrpc']) {
      const path = glue(`${name}.tsv`);
      const data = await openDataSet(path, { model: glue(`${kind}0`), ...options(kind) });
      const whole = await logitsBy(kind, data, []);
      const every = [...new Set(data.tokens)].sort((a, b) => a - b).slice(0, -1);
      expect(every.length).toBeGreaterThan(8);
      for (const lengths of [
        every,
        bucketLengths(data.tokens as Int32Array, 4).slice(0, -1),
        [17],
      ]) {
        const found = await logitsBy(kind, data, lengths);
        expect(Buffer.compare(Buffer.from(found.buffer), Buffer.from(whole.buffer))).toBe(0);
      }
    }
  });

  it('changes no bit where the operations are the portable ones', async () => {
    const data = await openDataSet(glue('mrpc.tsv'), { model: glue('bert0'), ...options('bert') });
    const every = [...new Set(data.tokens)].sort((a, b) => a - b).slice(0, -1);
    const found = await logitsBy('bert', data, every, 'portable');
    expect(found).toEqual(await logitsBy('bert', data, [], 'portable'));
  });

  it('to few lengths with the fewest tokens', () => {
    const tokens = Int32Array.from([5, 5, 5, 6, 30, 30, 31, 100]);
    expect(bucketLengths(tokens, 1)).toEqual([100]);
    expect(bucketLengths(tokens, 2)).toEqual([31, 100]);
    expect(bucketLengths(tokens, 3)).toEqual([6, 31, 100]);
    // A fourth would save less than it costs.
    expect(bucketLengths(tokens, 4)).toEqual([6, 31, 100]);
    expect(bucketLengths(Int32Array.from([7, 7, 7]), 4)).toEqual([7]);
    expect(
      bucketLengths(
        Int32Array.from({ length: 5000 }, (_, i) => 1 + i),
        2,
      ),
    ).toEqual([2500, 5000].map((n) => expect.closeTo(n, -2)));
  });
});

describe('label words', () => {
  const open = (labelWords: string | undefined, model = 't50') =>
    Session.open([glue(model)], { data: glue('sst2.tsv'), tokenizer: tokenizer('t5'), labelWords });

  it('are tokenized with the end token, and name the classes', async () => {
    writeFileSync(
      at('rte.jsonl'),
      '{"text":"a","label":"lovely"}\n{"text":"b","label":"terrible"}\n',
    );
    const data = await openDataSet(at('rte.jsonl'), { model: glue('t50'), ...options('t5') });
    expect([...data.labels]).toEqual([1, 0]);
    const ids = data.shared.label_ids;
    expect(ids?.shape[0]).toBe(2);
    const rows = [0, 1].map((r) =>
      [...(ids?.data ?? [])].slice(r * (ids?.shape[1] ?? 0), (r + 1) * (ids?.shape[1] ?? 0)),
    );
    for (const row of rows) expect(row.filter((id) => id !== 0).at(-1)).toBe(1);
  });

  it('are needed by T5, and by no other', async () => {
    const e = await failure(open(undefined), 'USAGE');
    expect(e.remedy).toMatch(/--label-words FILE/);
    expect((await failure(open(WORDS, 'bert0'), 'USAGE')).message).toMatch(
      /for text-to-text networks/,
    );
  });

  it('must be one for each class', async () => {
    writeFileSync(at('words'), 'yes\n\nno\n');
    expect((await failure(open(at('words')), 'FORMAT')).message).toMatch(
      /words:2: expected a word/,
    );
    writeFileSync(at('words'), '');
    await failure(open(at('words')), 'FORMAT');
    writeFileSync(at('words'), 'only\n');
    expect((await failure(open(at('words')), 'MISMATCH')).message).toMatch(
      /1 classes|labels from 0 to 0/,
    );
  });
});

describe('ids beyond the network’s vocabulary', () => {
  it('are refused', async () => {
    const session = Session.open([glue('t50')], {
      data: glue('sst2.tsv'),
      tokenizer: tokenizer('bert'),
      labelWords: WORDS,
    }).then(async (s) => {
      await s.load([0]);
      return s.logits();
    });
    const e = await session.then(
      () => undefined,
      (cause) => cause,
    );
    expect(e?.message).toMatch(/vocabulary|token|input_ids/);
  });
});
