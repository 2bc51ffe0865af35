import { readFileSync, writeFileSync } from 'node:fs';
import { mkdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { prepareImage } from '../../lib/data/image_set.js';
import { type DataOptions, openDataSet } from '../../lib/data/open.js';
import { ParquetFile } from '../../lib/data/parquet/reader.js';
import { parquetSource } from '../../lib/data/parquet/sets.js';
import { readPreparation } from '../../lib/data/read_preparation.js';
import { tokenizerJson } from '../fixtures/text/read.js';
import { json, root } from '../helpers/cli.js';
import { failure } from '../helpers/errors.js';
import { useFolder } from '../helpers/folder.js';

const at = useFolder();
const FIXTURES = join(root, 'test/fixtures/parquet');
const fixture = (name: string): string => join(FIXTURES, name);
const DIGITS = join(root, 'examples/digits');
const shards = [0, 1].map((i) => fixture(`digits-0000${i}-of-00002.parquet`));
const digits: [number, string][] = JSON.parse(readFileSync(fixture('digits.json'), 'utf8'));
const model = join(DIGITS, 'ingredients/ft05');

let tokenizer = '';
beforeAll(async () => {
  await mkdir(at('model'));
  tokenizer = at('model', 'tokenizer.json');
  writeFileSync(tokenizer, tokenizerJson('wordpiece'));
});

async function texts(name: string, options: DataOptions = {}) {
  const source = await parquetSource([fixture(name)], options.columns);
  if (!('texts' in source)) throw new Error('expected texts');
  const out: unknown[] = [];
  for await (const r of source.texts.examples())
    out.push('problem' in r ? r.problem : [r.text, r.pair, r.label]);
  return out;
}

describe('images', () => {
  it('of several shards are those that lie in files', async () => {
    const data = await openDataSet(shards, { model, classNames: undefined });
    expect([...data.labels]).toEqual(digits.map(([c]) => c));
    const preparation = await readPreparation(model);
    const found = await data.pixels?.read([...digits.keys()]);
    const one = 3 * preparation.width * preparation.height;
    for (const [i, [, name]] of digits.entries()) {
      const image = await readFile(join(DIGITS, 'heldout', name));
      const expected = await prepareImage(image, preparation);
      expect(Buffer.compare(expected, found?.subarray(i * one, (i + 1) * one) as Uint8Array)).toBe(
        0,
      );
    }
    await data.close();
  });

  it('of a folder are its shards in byte order', async () => {
    await mkdir(at('folder'));
    for (const [i, s] of shards.entries())
      writeFileSync(at('folder', `part-${i}.parquet`), readFileSync(s));
    const [whole, folder] = [
      await openDataSet(shards, { model }),
      await openDataSet(at('folder'), { model }),
    ];
    expect(folder.contentHash).toBe(whole.contentHash);
    await whole.close();
    await folder.close();
  });

  it('have classes by the network’s names where it has the same', async () => {
    const classNames = ['three', 'two', 'one', 'zero'];
    const data = await openDataSet(shards, { model, classNames });
    expect([...data.labels]).toEqual(digits.map(([c]) => 3 - c));
    const other = await openDataSet(shards, { model, classNames: ['a', 'b', 'c', 'd'] });
    expect([...other.labels]).toEqual(digits.map(([c]) => c));
    expect(other.notes.join()).toMatch(/\(zero, one, two, …\) are not those of the config/);
    await data.close();
    await other.close();
  });

  it('that cannot be used are named by row', async () => {
    const e = await failure(openDataSet(fixture('broken.parquet'), { model }), 'FORMAT');
    expect(e.message).toMatch(
      /broken\.parquet:row 1: has no bytes of an image \(only the name of a file, elsewhere\.png\) \(4 of 5/,
    );
    expect(e.details?.map((d) => `${/row \d+$/.exec(d.file ?? '')?.[0]}: ${d.message}`)).toEqual([
      'row 1: has no bytes of an image (only the name of a file, elsewhere.png)',
      'row 2: has no bytes of an image',
      'row 3: has label missing, expected a number or a name',
      expect.stringMatching(/^row 4: it is no image/),
    ]);
    const data = await openDataSet(fixture('broken.parquet'), { model, skipBad: true });
    expect([...data.labels]).toEqual([0]);
    await data.close();
  });

  it('are read a row group at a time', async () => {
    const file = await ParquetFile.open(shards[0] as string);
    const sizes: number[] = [];
    for await (const rows of file.read(['image', 'label'])) sizes.push(rows.length);
    expect(sizes).toEqual([3, 3, 1]);
    expect(file.rows).toBe(7);
  });
});

describe('texts', () => {
  it('of the hub, with names of classes', async () => {
    expect(await texts('pairs.parquet')).toEqual([
      ['a first text', 'its pair', 'not_equivalent'],
      ['the second "text"', 'another\tone', 'equivalent'],
      ['日本語 😀', 'third\nlines', 'equivalent'],
      ['fourth', '', 'not_equivalent'],
    ]);
    const data = await openDataSet(fixture('pairs.parquet'), { tokenizer });
    expect([...data.labels]).toEqual([0, 1, 1, 0]);
    expect(data.classNames).toEqual(['not_equivalent', 'equivalent']);
  });

  it.each(['none', 'snappy', 'gzip', 'brotli', 'zstd', 'lz4'])('compressed by %s', async (name) => {
    const columns = { text: 'review', label: 'sentiment' };
    expect(await texts(`plain-${name}.parquet`, { columns })).toEqual([
      ['good', undefined, 'pos'],
      ['bad', undefined, 'neg'],
      ['fine', undefined, 'pos'],
      ['awful', undefined, 'neg'],
    ]);
  });

  it('whose columns are of another type are named', async () => {
    const columns = { text: 'raw', label: 'stars' };
    expect(await texts('plain-zstd.parquet', { columns })).toEqual([
      ['good', undefined, '5'],
      ['bad', undefined, '1'],
      ['fine', undefined, '4'],
      'has raw missing, expected a string',
    ]);
  });
});

describe('refused', () => {
  it('columns that are none, with those that there are', async () => {
    const e = await failure(openDataSet(fixture('plain-none.parquet'), { tokenizer }), 'FORMAT');
    expect(e.message).toMatch(
      /found review \(text\), sentiment \(text\), stars \(other\), raw \(bytes\)/,
    );
    expect(e.remedy).toMatch(/--columns text=NAME,label=NAME/);
  });

  it('a folder with several splits', async () => {
    await mkdir(at('splits'));
    for (const name of ['train-00000-of-00001.parquet', 'test-00000-of-00001.parquet'])
      writeFileSync(at('splits', name), readFileSync(fixture('pairs.parquet')));
    const e = await failure(openDataSet(at('splits'), { tokenizer }), 'USAGE');
    expect(e.message).toMatch(/holds several splits: test, train/);
    expect(e.remedy).toMatch(/test-\*\.parquet/);
  });

  it('files of different sets', async () => {
    const mixed = [shards[0] as string, fixture('broken.parquet')];
    const e = await failure(openDataSet(mixed, { model }), 'MISMATCH');
    expect(e.message).toMatch(/broken\.parquet: expected the column label as in .*digits-00000/);
  });

  it('what is no parquet file, or a damaged one', async () => {
    const whole = readFileSync(fixture('pairs.parquet'));
    const cases: [string, Uint8Array, RegExp][] = [
      ['text', Buffer.from('text\tlabel\n'), /is no parquet file/],
      ['lfs', Buffer.from('version https://git-lfs.github.com/spec/v1\n'), /Git LFS pointer/],
      ['empty', Buffer.alloc(0), /is no parquet file/],
      ['short', whole.subarray(0, 40), /cannot be read/],
      ['cut', whole.subarray(0, -300), /cannot be read/],
    ];
    for (const [name, content, message] of cases) {
      writeFileSync(at(`${name}.parquet`), content);
      const e = await failure(openDataSet(at(`${name}.parquet`), { tokenizer }), 'FORMAT');
      expect(e.message, name).toMatch(message);
    }
    await failure(openDataSet(at('absent.parquet'), { tokenizer }), 'NOT_FOUND');
  });

  it('a number of rows that cannot be', async () => {
    const file = await ParquetFile.open(fixture('pairs.parquet'));
    const { metadata } = file as unknown as { metadata: { row_groups: { num_rows: bigint }[] } };
    (metadata.row_groups[0] as { num_rows: bigint }).num_rows = 10n ** 12n;
    const read = async () => {
      for await (const _ of file.read(['label']));
    };
    expect((await failure(read(), 'UNSUPPORTED')).message).toMatch(/1000000000000 rows/);
  });

  it('a row group that does not fit', async () => {
    const file = await ParquetFile.open(fixture('pairs.parquet'));
    const { metadata } = file as unknown as {
      metadata: { row_groups: { columns: { meta_data: { total_uncompressed_size: bigint } }[] }[] };
    };
    for (const c of metadata.row_groups[0]?.columns ?? [])
      c.meta_data.total_uncompressed_size = 2n ** 31n;
    const read = async () => {
      for await (const _ of file.read(['sentence1']));
    };
    const e = await failure(read(), 'UNSUPPORTED');
    expect(e.message).toMatch(/row group 0 has 2147483648 bytes in sentence1/);
    expect(e.remedy).toMatch(/smaller row groups/);
  });

  it('any byte that is changed: an answer or a StockpotError, never a crash', async () => {
    const whole = readFileSync(fixture('pairs.parquet'));
    for (let i = 0; i < whole.length; i += 7) {
      const changed = Buffer.from(whole);
      changed[i] = (changed[i] as number) ^ (1 << (i % 8));
      writeFileSync(at('changed.parquet'), changed);
      const result = await openDataSet(at('changed.parquet'), { tokenizer, skipBad: true }).then(
        (d) => d.count,
        (e) => e.code,
      );
      expect(typeof result === 'number' || /^[A-Z_]+$/.test(result), `byte ${i}: ${result}`).toBe(
        true,
      );
    }
  });

  it('parts of a column that fail together: a failure that nobody waits for would end the process', async () => {
    const whole = readFileSync(shards[0] as string);
    const { metadata } = (await ParquetFile.open(shards[0] as string)) as unknown as {
      metadata: { row_groups: { columns: { meta_data: { data_page_offset: bigint } }[] }[] };
    };
    const last = metadata.row_groups.at(-1)?.columns ?? [];
    const offsets = last.map((c) => Number(c.meta_data.data_page_offset));
    const [bytes, path] = offsets as [number, number];
    // In the footer the name of the last group's part `path` comes last.
    const named = whole.lastIndexOf('\x04path') + 1;
    const cases: [string, number[], number?][] = [
      ['both damaged', [bytes, path]],
      ['one damaged, one of no such name', [bytes], named],
      ['one damaged, the other of its name', [path], named],
    ];
    for (const [name, damaged, renamed] of cases) {
      const changed = Buffer.from(whole);
      for (const offset of damaged) changed.fill(0xff, offset, offset + 12);
      if (renamed !== undefined)
        changed.write(name.endsWith('such name') ? 'nope' : 'byte', renamed);
      const file = at(`${name}.parquet`);
      writeFileSync(file, changed);
      const { code, out } = await json(['evaluate', model, '--data', file]);
      expect([name, code, out.error.code, out.error.file]).toEqual([name, 1, 'FORMAT', file]);
    }
  });
});
