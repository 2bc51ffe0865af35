import { existsSync } from 'node:fs';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { readPyTorch } from '../../lib/checkpoint/pytorch/index.js';
import { uniform } from '../../lib/index.js';
import { gather } from '../checkpoint/gather.js';
import { root } from '../helpers/cli.js';
import { decode, encode } from '../helpers/floats.js';
import { useFolder } from '../helpers/folder.js';
import { type ReadFile, readBack, type Tensor } from '../helpers/safetensors.js';

const at = useFolder();
const GOLDEN = join(root, '../shared/golden');
const KITCHEN = join(root, '../shared/kitchen');
const FAMILIES = [
  'align_onnx',
  'bert_hf',
  'clip_hf',
  'clip_soups_pt',
  'coatnet_onnx',
  't5_gated',
  't5_relu',
  'vit_hf',
  'vit_timm',
];

/** An ingredient without the library's merging: names without `module.`. */
async function read(folder: string): Promise<ReadFile> {
  const [name = ''] = (await readdir(folder)).filter((n) => /\.(safetensors|pt)$/.test(n));
  const path = join(folder, name);
  if (name.endsWith('.safetensors')) return readBack(path);
  const { entries } = await readPyTorch(path);
  const bytes = await readFile(path);
  const tensors = entries.map((e): [string, Tensor] => {
    const bare = e.name.replace(/^module\./, '');
    return [bare, { name: bare, dtype: e.dtype, shape: [...e.shape], bytes: gather(bytes, e) }];
  });
  return { tensors: new Map(tensors), metadata: {} };
}

/** The mean as it is defined: all summed in float64, divided once, rounded once. */
function mean(name: string, tensors: readonly Tensor[]): Buffer {
  const first = tensors[0] as Tensor;
  const values = tensors.map((t) => decode(t.dtype, t.bytes));
  const of = (i: number) => values.map((v) => v[i] as number);
  const elements = (values[0] as number[]).map((x, i) => {
    if (first.dtype.startsWith('F') || first.dtype === 'BF16')
      return of(i).reduce((sum, v) => sum + v, 0) / tensors.length;
    if (name.endsWith('num_batches_tracked')) return Math.max(...of(i));
    if (of(i).some((v) => v !== x)) throw new Error(`${name}: integers differ`);
    return x;
  });
  return encode(first.dtype, elements);
}

async function expectUniform(folders: string[]): Promise<{ warnings: string[]; notes: string[] }> {
  const ingredients = await Promise.all(folders.map(read));
  const out = at('soup.safetensors');
  const made = await uniform(folders, out, { overwrite: true });
  const soup = await readBack(out);
  const [first] = ingredients as [ReadFile];
  expect([...soup.tensors.keys()].sort()).toEqual([...first.tensors.keys()].sort());
  for (const [name, t] of first.tensors) {
    const found = soup.tensors.get(name) as Tensor;
    expect([name, found.dtype, found.shape]).toEqual([name, t.dtype, t.shape]);
    const all = ingredients.map((i) => i.tensors.get(name) as Tensor);
    expect(found.bytes.equals(mean(name, all)), `${name} is not the mean, bit for bit`).toBe(true);
  }
  return made;
}

const subfolders = async (folder: string): Promise<string[]> =>
  (await readdir(folder)).sort().map((n) => join(folder, n));

describe('uniform soups equal the definition, bit for bit', () => {
  it.for(FAMILIES)('%s', async (family, { skip }) => {
    const folder = join(GOLDEN, family, 'ingredients');
    if (!existsSync(folder)) skip('the reference cases are not part of the repository');
    const { warnings, notes } = await expectUniform(await subfolders(folder));
    const batchNorm = /^(align|coatnet)/.test(family);
    expect(warnings.some((w) => /Batch-norm/.test(w))).toBe(batchNorm);
    expect(notes.some((n) => n.includes('"module."'))).toBe(family === 'clip_soups_pt');
  });

  it('the kitchen: ten f16 ingredients', async ({ skip }) => {
    const folder = join(KITCHEN, 'ingredients');
    if (!existsSync(folder)) skip('the reference cases are not part of the repository');
    const folders = await subfolders(folder);
    expect(folders).toHaveLength(10);
    await expectUniform(folders);
  });

  it('examples/digits: eight f16 ingredients', async () => {
    const folders = await subfolders(join(root, 'examples/digits/ingredients'));
    expect(folders).toHaveLength(8);
    await expectUniform(folders);
    await expectUniform([...folders].reverse());
  });
});
