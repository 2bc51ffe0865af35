// What killed runs leave is removed by later ones; what living runs are writing, and what is not stockpot's, is not.
import { execFileSync } from 'node:child_process';
import { mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { writeText } from '../../lib/analysis/write_text.js';
import { claim, sweep } from '../../lib/checkpoint/claim.js';
import { AtomicOutput } from '../../lib/checkpoint/output.js';
import { TemporaryFolder } from '../../lib/checkpoint/unfinished.js';
import { makeKept, writeWhole } from '../../lib/checkpoint/whole_file.js';
import { failure } from '../helpers/errors.js';
import { listing, useFolder } from '../helpers/folder.js';
import { putTensors, tensor } from '../helpers/safetensors.js';

const at = useFolder();
let sets = 0;
function fresh(): string {
  const folder = at(`${sets++}`);
  mkdirSync(folder);
  return folder;
}
const KEY = 'a'.repeat(64);

describe('temporary folders', () => {
  const left = 'stockpot-soup-0123456789abcdef';

  it('of killed runs are removed by the next, whatever is in them', async () => {
    const folder = fresh();
    mkdirSync(join(folder, left, 'soup/below'), { recursive: true });
    writeFileSync(join(folder, left, 'soup/below/model.safetensors'), 'x');
    const next = await TemporaryFolder.make('graph', folder);
    expect(await listing(folder)).toEqual([next.path.split('/').at(-1)]);
    await next.remove();
    expect(await listing(folder)).toEqual([]);
  });

  it('of living runs stay', async () => {
    const folder = fresh();
    const living = await TemporaryFolder.make('soup', folder);
    const next = await TemporaryFolder.make('soup', folder);
    expect(await listing(folder)).toHaveLength(2);
    await living.remove();
    await next.remove();
  });

  it('are nobody else’s to read', async () => {
    const made = await TemporaryFolder.make('soup', fresh());
    const mode = execFileSync('ls', ['-ld', made.path], { encoding: 'utf8' });
    expect(mode).toMatch(/^drwx------/);
    await made.remove();
  });

  it('what others made under such names stays: links, and names that are not quite theirs', async () => {
    const folder = fresh();
    const elsewhere = fresh();
    writeFileSync(join(elsewhere, 'precious'), 'x');
    symlinkSync(elsewhere, join(folder, left));
    for (const name of ['stockpot-soup-backup', `${left}0`, 'stockpot-cake-0123456789abcdef'])
      mkdirSync(join(folder, name));
    await (await TemporaryFolder.make('soup', folder)).remove();
    expect(await listing(folder)).toHaveLength(4);
    expect(await listing(elsewhere)).toEqual(['precious']);
  });
});

describe('files of a state', () => {
  it('half-written ones of killed runs are removed, those of living runs and others’ stay', async () => {
    const folder = fresh();
    const [killed, living] = [`${KEY}.json.00000000.partial`, `${KEY}.json.11111111.partial`];
    writeFileSync(join(folder, killed), 'half');
    writeFileSync(join(folder, `learned-${killed}`), 'half');
    writeFileSync(join(folder, 'notes.json.00000000.partial'), 'mine');
    const handle = await claim(join(folder, living), true);
    if (typeof handle === 'string') throw new Error(handle);
    await makeKept(folder);
    expect(await listing(folder)).toEqual([living, 'notes.json.00000000.partial'].sort());
    await handle.close();
    await makeKept(folder);
    expect(await listing(folder)).toEqual(['notes.json.00000000.partial']);
  });

  it('written by several at once while others sweep: one whole file, nothing else', async () => {
    const folder = fresh();
    const path = join(folder, `${KEY}.json`);
    const texts = Array.from({ length: 20 }, (_, i) => `${i}`.repeat(10_000));
    await Promise.all(texts.flatMap((text) => [writeWhole(path, text), makeKept(folder)]));
    expect(await listing(folder)).toEqual([`${KEY}.json`]);
    expect(texts).toContain(await readFile(path, 'utf8'));
  });
});

describe('outputs', () => {
  const model = (folder: string, value: number) =>
    putTensors(join(folder, 'model.safetensors'), [tensor('w', 'F32', [1], [value])]);
  const options = { inputs: [], overwrite: true };

  it('behaviour 22: an old folder that was put aside comes back where nothing took its place', async () => {
    const folder = fresh();
    const old = await readFile(await model(join(folder, '.soup.stockpot-partial-old'), 1));
    mkdirSync(join(folder, '.soup.stockpot-partial'));
    const out = join(folder, 'soup');
    const error = await failure(AtomicOutput.begin(out, { inputs: [] }), 'OUTPUT');
    expect(error.message).toContain('exists already');
    expect(await listing(folder)).toEqual(['soup']);
    expect(await readFile(join(out, 'model.safetensors'))).toEqual(old);
  });

  it('behaviour 22: one that was replaced already is removed', async () => {
    const folder = fresh();
    await model(join(folder, '.soup.stockpot-partial-old'), 1);
    const now = await readFile(await model(join(folder, 'soup'), 2));
    const target = await AtomicOutput.begin(join(folder, 'soup'), options);
    await target.abandon();
    expect(await listing(folder)).toEqual(['soup']);
    expect(await readFile(join(folder, 'soup/model.safetensors'))).toEqual(now);
  });

  it('behaviour 22: one that a living run is removing is left to it', async () => {
    const folder = fresh();
    const aside = join(folder, '.soup.stockpot-partial-old');
    const handle = await claim(aside, false);
    if (typeof handle === 'string') throw new Error(handle);
    await model(join(folder, 'soup'), 2);
    const target = await AtomicOutput.begin(join(folder, 'soup'), options);
    await target.abandon();
    expect(await listing(folder)).toEqual(['.soup.stockpot-partial-old', 'soup']);
    await handle.close();
  });

  it('a pipe or a device is not replaced', async () => {
    const folder = fresh();
    const pipe = join(folder, 'report.html');
    execFileSync('mkfifo', [pipe]);
    const error = await failure(writeText(pipe, 'x', { overwrite: true }), 'OUTPUT');
    expect(error.message).toContain('no regular file');
    expect(await listing(folder)).toEqual(['report.html']);
  });
});

it('sweeping a folder that is not there is nothing', async () => {
  await sweep(at('not there'), () => true);
});
