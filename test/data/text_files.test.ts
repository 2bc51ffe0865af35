import { writeFileSync } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import fc from 'fast-check';
import { beforeAll, describe, expect, it } from 'vitest';
import { classLabels } from '../../lib/data/class_labels.js';
import { type DataOptions, openDataSet } from '../../lib/data/open.js';
import { commaSeparated } from '../../lib/data/text/delimited.js';
import { textFiles } from '../../lib/data/text/source.js';
import { glue, tokenizerJson } from '../fixtures/text/read.js';
import { failure } from '../helpers/errors.js';
import { useFolder } from '../helpers/folder.js';

const at = useFolder();
let model = '';

beforeAll(async () => {
  model = at('model');
  await mkdir(model);
  writeFileSync(at('model', 'tokenizer.json'), tokenizerJson('wordpiece'));
});

const file = async (name: string, content: string | Uint8Array): Promise<string> => {
  await writeFile(at(name), content);
  return at(name);
};

const open = (path: string | string[], options: DataOptions = {}) =>
  openDataSet(path, { model, ...options });

/** Rows as they are read: [line, text, pair, label], or what is wrong. */
async function rows(path: string | string[], columns?: DataOptions['columns']) {
  const paths = typeof path === 'string' ? [path] : path;
  const out: unknown[] = [];
  for await (const r of (await textFiles(paths, columns)).examples()) {
    const line = Number(/\d+$/.exec(r.file)?.[0]);
    out.push('problem' in r ? [line, r.problem] : [line, r.text, r.pair, r.label]);
  }
  return out;
}

describe('layouts', () => {
  it.each<[string, string, string, unknown[]]>([
    ['a header', 'a.tsv', 'label\ttext\n1\tx\n', [[2, 'x', undefined, '1']]],
    ['a header with pairs', 'b.tsv', 'text\ttext_pair\tlabel\nx\ty\t1\n', [[2, 'x', 'y', '1']]],
    [
      'none, two columns',
      'c.tsv',
      'x\t1\ny\t0\n',
      [
        [1, 'x', undefined, '1'],
        [2, 'y', undefined, '0'],
      ],
    ],
    ['none, three columns', 'd.csv', 'x,y,1\n', [[1, 'x', 'y', '1']]],
    ['SST-2', 'e.tsv', 'sentence\tlabel\nx "y\t1\n', [[2, 'x "y', undefined, '1']]],
    [
      'MRPC',
      'f.tsv',
      '\ufeffQuality\t#1 ID\t#2 ID\t#1 String\t#2 String\r\n1\t7\t8\tx\ty\r\n',
      [[2, 'x', 'y', '1']],
    ],
    [
      'RTE',
      'g.tsv',
      'index\tsentence1\tsentence2\tlabel\n0\tx\ty\tentailment\n',
      [[2, 'x', 'y', 'entailment']],
    ],
    [
      'CoLA',
      'h.tsv',
      'gj04\t1\t\tx\ngj04\t0\t*\ty\n',
      [
        [1, 'x', undefined, '1'],
        [2, 'y', undefined, '0'],
      ],
    ],
    [
      'JSON lines',
      'i.jsonl',
      '{"text":"x","label":1}\n\n{"label":"a","text":"y","text_pair":null}\n',
      [
        [1, 'x', undefined, '1'],
        [3, 'y', undefined, 'a'],
      ],
    ],
    [
      'JSON lines with pairs',
      'j.jsonl',
      '{"premise":"x","hypothesis":"y","label":true}',
      [[1, 'x', 'y', '1']],
    ],
    ['capitals', 'l.csv', 'ID, Text,Label\n7,x,1\n', [[2, 'x', undefined, '1']]],
    ['no line end at the end', 'k.csv', 'text,label\nx,1', [[2, 'x', undefined, '1']]],
  ])('%s', async (_, name, content, expected) => {
    expect(await rows(await file(name, content))).toEqual(expected);
  });

  it('columns that the user names', async () => {
    const csv = await file('named.csv', 'id,review,sentiment\n1,x,0\n');
    expect(await rows(csv, { text: 'review', label: 'sentiment' })).toEqual([
      [2, 'x', undefined, '0'],
    ]);
    const jsonl = await file('named.jsonl', '{"text":"x","stars":3}\n');
    expect(await rows(jsonl, { label: 'stars' })).toEqual([[1, 'x', undefined, '3']]);
    const e = await failure(rows(csv, { text: 'review', label: 'stars' }), 'FORMAT');
    expect(e.message).toMatch(/stars \(as label\).*found the columns id, review, sentiment/);
  });

  it('refuses what it cannot tell apart, naming what it found', async () => {
    const wide = await failure(rows(await file('wide.tsv', 'a\tb\tc\td\te\n')), 'FORMAT');
    expect(wide.message).toMatch(/wide\.tsv: .*a table of 5 columns without a header/);
    expect(wide.remedy).toMatch(/--columns/);
    const test = await failure(rows(await file('test.tsv', 'index\tsentence\n0\tx\n')), 'FORMAT');
    expect(test.message).toMatch(/found the columns index, sentence/);
    const keys = await failure(rows(await file('keys.jsonl', '{"a":1}\n')), 'FORMAT');
    expect(keys.message).toMatch(/found the keys a/);
  });

  it('reads several files as one, each with its own header', async () => {
    const one = await file('one.tsv', 'label\ttext\n1\tx\n');
    const two = await file('two.tsv', 'text\tlabel\ny\t0\n');
    expect(await rows([one, two])).toEqual([
      [2, 'x', undefined, '1'],
      [2, 'y', undefined, '0'],
    ]);
    const mixed = await failure(open([one, at('i.jsonl')]), 'USAGE');
    expect(mixed.message).toMatch(/several files of one kind/);
  });
});

describe('comma-separated values', () => {
  const read = async (content: string) => {
    const out: unknown[] = [];
    for await (const { line, cells, problem } of commaSeparated(await file('x.csv', content)))
      out.push(problem === undefined ? [line, ...cells] : [line, problem]);
    return out;
  };

  it('have quoted fields, with commas, line ends and quotation marks in them', async () => {
    expect(await read('"a,b","c ""d""",e\r\n"two\nlines",,""\n\n"",x,y\n')).toEqual([
      [1, 'a,b', 'c "d"', 'e'],
      [2, 'two\nlines', '', ''],
      [5, '', 'x', 'y'],
    ]);
  });

  it('that are damaged are named by line, and reading goes on', async () => {
    expect(await read('a,"b\nc,d\n"e"f,g\nh"i,j\nk,l\n')).toEqual([
      [1, 'has text after a quoted field'],
      [2, 'c', 'd'],
      [3, 'has text after a quoted field'],
      [4, 'has a quotation mark inside a field that is not quoted'],
      [5, 'k', 'l'],
    ]);
    expect(await read('a,b\nc,"d\ne,f\n')).toEqual([
      [1, 'a', 'b'],
      [2, 'has a quotation mark that is never closed'],
      [3, 'e', 'f'],
    ]);
  });

  it('come back whatever is in the fields', async () => {
    const cell = fc.string({
      unit: fc.constantFrom('a', ',', '"', '\n', '\t', ' ', 'é', '😀', '\r'),
    });
    const quoted = (c: string) => `"${c.replaceAll('"', '""')}"`;
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.tuple(cell, cell), { minLength: 1, maxLength: 8 }),
        async (table) => {
          const text = table.map((r) => r.map(quoted).join(',')).join('\n');
          expect((await read(text)).map((r) => (r as unknown[]).slice(1))).toEqual(table);
        },
      ),
      { numRuns: 60 },
    );
  });
});

describe('rows that cannot be used', () => {
  it('are named by file and line, counted, and left out with skipBad', async () => {
    const bad = await file(
      'bad.tsv',
      Buffer.concat([
        Buffer.from('text\tlabel\ngood\t1\nno label\t\nthree\tcells\t1\nhidden\t-1\nhalf\thalf\n'),
        Buffer.from([0xff, 0x09, 0x31, 0x0a]),
        Buffer.from('also good\t0\n'),
      ]),
    );
    const e = await failure(open(bad), 'FORMAT');
    expect(e.message).toMatch(/bad\.tsv:3: has no label \(5 of 7 examples of .* cannot be used\)/);
    const lines = e.details?.map((d) => `${/\d+$/.exec(d.file ?? '')?.[0]} ${d.message}`);
    expect(lines).toEqual([
      '3 has no label',
      '4 has 3 columns, expected 2',
      '5 has the label "-1", expected a number as other rows have it',
      '6 has the label "half", expected a number as other rows have it',
      '7 is not UTF-8',
    ]);
    const data = await open(bad, { skipBad: true });
    expect([data.count, [...data.labels]]).toEqual([2, [1, 0]]);
    expect(data.skipped).toHaveLength(5);
    expect(data.notes.join()).toMatch(/5 of 7 examples cannot be used and are left out/);
  });

  it('JSON lines of another shape', async () => {
    const bad = await file(
      'bad.jsonl',
      '{"text":"x","label":0}\n{"text":1,"label":0}\n[1]\n{"text":"x"}\n{"text":"x","label":[0]}\n{oops\n',
    );
    expect((await rows(bad)).slice(1)).toEqual([
      [2, 'has text 1, expected a string'],
      [3, 'expected a JSON object'],
      [4, 'has label missing, expected a number or a name'],
      [5, 'has label [0], expected a number or a name'],
      [6, expect.stringMatching(/^is not valid JSON/)],
    ]);
  });

  it.each<[string, Uint8Array, RegExp]>([
    [
      'a Git LFS pointer',
      Buffer.from('version https://git-lfs.github.com/spec/v1\noid sha256:0\n'),
      /Git LFS pointer/,
    ],
    ['UTF-16', Buffer.from('text\tlabel\n', 'utf16le'), /UTF-16/],
    ['UTF-16 with its mark', Buffer.from('\ufefftext\tlabel\n', 'utf16le'), /UTF-16/],
    ['gzip', Buffer.from([0x1f, 0x8b, 8, 0, 0]), /compressed/],
    ['a web page', Buffer.from('<!DOCTYPE html>\n<html>'), /web page/],
    ['nothing', Buffer.alloc(0), /is empty/],
    ['a header only', Buffer.from('text\tlabel\n'), /is empty/],
  ])('refuses %s', async (_, content, message) => {
    expect((await failure(open(await file('odd.tsv', content)), 'FORMAT')).message).toMatch(
      message,
    );
  });
});

describe('labels', () => {
  const classes = (labels: string[], known: string[][] = [], own?: string[]) => {
    const meaning = classLabels('x', labels, known, own);
    return labels.map((l) => meaning.classOf(l));
  };

  it('are numbers, or names of the network, or names in byte order', () => {
    expect(classes(['1', '0', '2.0'])).toEqual([1, 0, 2]);
    expect(classes(['b', 'a'], [['a', 'b', 'c']])).toEqual([1, 0]);
    expect(classes(['b', 'é', 'a', 'Z'])).toEqual([2, 3, 1, 0]);
    expect(classes(['1', '2'], [['2', '1']])).toEqual([1, 0]);
    expect(classes(['0', '1'], [['1', '2']])).toEqual([0, 1]);
  });

  it('that are neither have no class', () => {
    expect(classes(['a', 'x', '1'], [['a', 'b']])).toEqual([0, undefined, 1]);
    expect(classes(['0', 'x'])).toEqual([0, undefined]);
    expect(classes(['-1', '99999999999'])).toEqual([undefined, undefined]);
  });

  it('take the data’s own order only where the network has not the names', () => {
    expect(classes(['no', 'yes'], [['yes', 'no']], ['no', 'yes'])).toEqual([1, 0]);
    expect(classes(['no', 'yes'], [['LABEL_0', 'LABEL_1']], ['no', 'yes'])).toEqual([0, 1]);
    expect(classes(['yes', 'no'], [], ['yes', 'no'])).toEqual([0, 1]);
  });

  it('are the config’s by id2label, or by label2id', async () => {
    const path = glue('rte.tsv');
    const config = (name: string, value: object) =>
      file(name, JSON.stringify({ model_type: 'bert', ...value }));
    const names = { 1: 'entailment', 0: 'not_entailment' };
    const byId = await open(path, { config: await config('id.json', { id2label: names }) });
    const byLabel = await open(path, {
      config: await config('label.json', { label2id: { entailment: 1, not_entailment: 0 } }),
    });
    expect([...byId.labels]).toEqual([...byLabel.labels]);
    expect([...byId.labels]).toEqual([...(await open(path)).labels].map((l) => 1 - l));
  });

  it('that the network names otherwise are a note, unless its names are none', () => {
    const notes = (known: string[]) => classLabels('x', ['a', 'b'], [known]).notes.join();
    expect(notes(['good', 'bad'])).toMatch(/not those of the config's id2label \(good, bad\)/);
    expect(notes(['LABEL_0', 'LABEL_1'])).not.toMatch(/id2label/);
  });

  it('say how names were numbered', async () => {
    const data = await open(glue('rte.tsv'));
    expect(data.notes.join()).toMatch(/byte order of their names: 0 entailment, 1 not_entailment/);
    expect(data.classNames).toEqual(['entailment', 'not_entailment']);
  });
});

describe('a set of texts', () => {
  it('is padded to the longest, or to a length that is asked for', async () => {
    const data = await open(
      await file('pad.tsv', 'text\tlabel\nthe soup\t1\nthe soup was better than the best\t0\n'),
    );
    const [short = 0, long = 0] = data.tokens ?? [];
    expect(short).toBeLessThan(long);
    expect(data.inputs.map((i) => [i.name, i.shape])).toEqual([
      ['input_ids', [long]],
      ['attention_mask', [long]],
      ['token_type_ids', [long]],
    ]);
    const whole = await data.batch([1, 0]);
    const alone = await data.batch([0], short);
    expect([...(whole.input_ids ?? [])].slice(long, long + short)).toEqual([
      ...(alone.input_ids ?? []),
    ]);
    expect([...(whole.attention_mask ?? [])].slice(long)).toEqual(
      Array.from({ length: long }, (_, i) => Number(i < short)),
    );
    await expect(data.batch([1], short)).rejects.toThrow(RangeError);
    await expect(data.batch([2])).rejects.toThrow(RangeError);
  });

  it('is cut to what the model and its tokenizer take, and says so', async () => {
    await writeFile(at('model', 'tokenizer_config.json'), '{"model_max_length": 7}');
    const path = await file(
      'cut.tsv',
      'text\tlabel\nthe soup was better than the best of them all\t1\nx\t0\n',
    );
    const data = await open(path);
    expect(Math.max(...(data.tokens ?? []))).toBe(7);
    expect(data.notes.join()).toMatch(/1 of 2 texts are longer than 7 tokens and are cut/);
    await writeFile(
      at('model', 'tokenizer_config.json'),
      '{"model_max_length": 1000000000000000019884624838656}',
    );
    expect(Math.max(...((await open(path)).tokens ?? []))).toBeGreaterThan(7);
  });

  it('has no token types where the tokenizer’s settings leave them out', async () => {
    await writeFile(
      at('model', 'tokenizer_config.json'),
      '{"model_input_names": ["input_ids", "attention_mask"]}',
    );
    const data = await open(glue('mrpc.tsv'));
    await writeFile(at('model', 'tokenizer_config.json'), '{}');
    expect(data.inputs.map((i) => i.name)).toEqual(['input_ids', 'attention_mask']);
    expect(Object.keys(await data.batch([0]))).toEqual(['input_ids', 'attention_mask']);
    expect((await open(glue('mrpc.tsv'))).contentHash).not.toBe(data.contentHash);
  });

  it('has a hash of its tokens and labels', async () => {
    const hash = async (content: string) =>
      (await open(await file('hash.tsv', content))).contentHash;
    const a = await hash('text\tlabel\nthe soup\t1\n');
    expect(await hash('the soup\t1\n')).toBe(a);
    expect(await hash('the soup\t0\n')).not.toBe(a);
    expect(await hash('the film\t1\n')).not.toBe(a);
  });

  it('needs a tokenizer', async () => {
    await mkdir(at('bare'), { recursive: true });
    const e = await failure(openDataSet(glue('sst2.tsv'), { model: at('bare') }), 'NOT_FOUND');
    expect(e.message).toMatch(/has no tokenizer\.json/);
    expect(e.remedy).toMatch(/--tokenizer/);
    const tokenizer = at('model', 'tokenizer.json');
    const data = await openDataSet(glue('sst2.tsv'), { model: at('bare'), tokenizer });
    expect(data.count).toBe(40);
    expect((await openDataSet(glue('sst2.tsv'), { tokenizer: model })).count).toBe(40);
  });

  it('can be given up', async () => {
    const signal = AbortSignal.abort();
    await failure(open(glue('sst2.tsv'), { signal }), 'ABORTED');
  });

  it('is bad where a word is too long, not the end of the process', async () => {
    const path = await file(
      'long.jsonl',
      `${JSON.stringify({ text: 'x'.repeat(400_000), label: 0 })}\n{"text":"x","label":1}\n`,
    );
    writeFileSync(at('model', 'byte.json'), tokenizerJson('unigram'));
    const data = await open(path, { tokenizer: at('model', 'byte.json'), skipBad: true });
    expect([1, 2]).toContain(data.count);
  });
});
