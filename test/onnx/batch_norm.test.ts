import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { uniform, verify } from '../../lib/index.js';
import { json, root, stockpot } from '../helpers/cli.js';
import { failure } from '../helpers/errors.js';
import { decode } from '../helpers/floats.js';
import { useFolder } from '../helpers/folder.js';
import { readBack } from '../helpers/safetensors.js';

const at = useFolder();
const FIXTURES = join(import.meta.dirname, '../fixtures/onnx');
const fixture = (name: string) => join(FIXTURES, name);
const COATNET = join(root, '../shared/golden/coatnet_onnx');
const pair = [0, 1].map((i) => fixture(`normed-${i}.safetensors`));
const data = fixture('data.safetensors');
const reference = readFile(fixture('batch_norm.json'), 'utf8').then(JSON.parse);

/** Statistics as PyTorch's update_bn made them; the rest as it was averaged. */
async function expectStatistics(soup: string, averaged: string, name: string, within: number) {
  const expected: Record<string, number[]> = (await reference)[name];
  const [found, plain] = [await readBack(soup), await readBack(averaged)];
  expect(new Set(found.tensors.keys())).toEqual(new Set(plain.tensors.keys()));
  let seen = 0;
  for (const [tensor, t] of found.tensors) {
    const values = expected[tensor];
    if (!values) {
      expect(t.bytes.equals(plain.tensors.get(tensor)?.bytes as Buffer), tensor).toBe(true);
      continue;
    }
    seen++;
    const largest = Math.max(...values.map(Math.abs));
    for (const [i, x] of decode('F32', t.bytes).entries())
      expect(Math.abs(x - (values[i] as number)) / largest, tensor).toBeLessThan(within);
    expect(t.bytes.equals(plain.tensors.get(tensor)?.bytes as Buffer)).toBe(false);
  }
  expect(seen).toBe(Object.keys(expected).length);
}

describe('batch-norm statistics of the soup itself', () => {
  it.for(['normed-kept.onnx', 'normed-dynamo-plain.onnx'])(
    '%s: as update_bn makes them',
    async (graph) => {
      const [out, plain] = [at('again.safetensors'), at('plain.safetensors')];
      await uniform(pair, plain, { overwrite: true });
      const again = { graph: fixture(graph), data, batchSize: 4 };
      const made = await uniform(pair, out, { overwrite: true, recomputeBatchNorm: again });
      expect(made.warnings.filter((w) => /batch-norm/i.test(w))).toEqual([]);
      await expectStatistics(out, plain, 'normed', 1e-5);
      const checked = await verify(out);
      expect(checked.sha256).toBe(made.sha256);
      expect([checked.verified, checked.unproved.some((u) => /4 batch-norm/.test(u))]).toEqual([
        true,
        true,
      ]);
    },
  );

  it.skipIf(!existsSync(COATNET))(
    'coatnet, in a folder, of a soup that was made before',
    async () => {
      const ingredients = [0, 1, 2].map((i) => join(COATNET, 'ingredients', String(i)));
      await uniform(ingredients, at('coatnet'));
      const args = ['uniform', at('coatnet'), '-o', at('coatnet-again'), '--recompute-batchnorm'];
      const where = [
        '--data',
        join(COATNET, 'inputs.safetensors'),
        '--graph',
        join(COATNET, 'graph.onnx'),
      ];
      const { code, out } = await json([...args, ...where, '--batch-size', '16']);
      expect([code, out.warnings]).toEqual([0, []]);
      const file = (folder: string) => join(at(folder), 'model.safetensors');
      await expectStatistics(file('coatnet-again'), file('coatnet'), 'coatnet', 1e-4);
      const checked = await json(['verify', at('coatnet-again')]);
      expect([checked.code, checked.out.sha256]).toEqual([0, out.sha256]);
    },
  );

  it('is refused where there is no batch norm, no graph or no data', async () => {
    const mixers = [0, 1].map((i) => fixture(`mixer-${i}.safetensors`));
    const again = { graph: fixture('mixer-kept.onnx'), data };
    const call = uniform(mixers, at('never'), { recomputeBatchNorm: again });
    expect((await failure(call, 'UNSUPPORTED')).message).toMatch(/no BatchNormalization/);
    const args = ['uniform', ...pair, '-o', at('never')];
    for (const more of [
      ['--recompute-batchnorm'],
      ['--recompute-batchnorm', '--data', data],
      ['--recompute-batchnorm', '--graph', fixture('normed-kept.onnx')],
      ['--data', data],
    ])
      expect((await stockpot([...args, ...more])).code).toBe(2);
    expect(existsSync(at('never'))).toBe(false);
  });
});
