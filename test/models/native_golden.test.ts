// The native executor against what the field's own libraries compute in float64 (`logits.I` of the reference cases).
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { openCheckpoint } from '../../lib/checkpoint/open.js';
import { openDataSet } from '../../lib/data/open.js';
import { NativeNetwork } from '../../lib/evaluate/native_network.js';
import { matchTensors } from '../../lib/merge/match.js';
import { planTensors } from '../../lib/merge/plan.js';
import { resolveWeights } from '../../lib/merge/weights.js';
import { buildNetwork, findConfig } from '../../lib/models/index.js';
import { golden, hasGolden, NATIVE_FAMILIES } from '../helpers/golden.js';

/** One float32 tensor of a safetensors file. */
function tensor(path: string, name: string): Float32Array {
  const bytes = readFileSync(path);
  const length = Number(bytes.readBigUInt64LE(0));
  const [begin, end] = JSON.parse(bytes.toString('utf8', 8, 8 + length))[name].data_offsets;
  return new Float32Array(
    bytes.buffer.slice(bytes.byteOffset + 8 + length + begin, bytes.byteOffset + 8 + length + end),
  );
}

export async function networkOf(folders: string[], dataPath: string, options = {}) {
  const checkpoints = await Promise.all(folders.map((f) => openCheckpoint(f)));
  const [first] = checkpoints as [(typeof checkpoints)[0]];
  const data = await openDataSet(dataPath);
  const ids = data.shared.class_input_ids;
  const labels = data.shared.label_ids;
  const rows = (t: { shape: readonly number[]; data: ArrayLike<number> }) =>
    Array.from({ length: t.shape[0] as number }, (_, i) =>
      Array.from(
        { length: t.shape[1] as number },
        (_, j) => t.data[i * (t.shape[1] as number) + j] as number,
      ),
    );
  const network = buildNetwork(first, await findConfig(folders[0] as string), {
    sequenceLength: data.inputs.find((i) => i.name === 'input_ids')?.shape[0],
    classes: ids
      ? { n: ids.shape[0] as number, sequenceLength: ids.shape[1] as number }
      : undefined,
    labelIds: labels ? rows(labels) : undefined,
    inputs: [...data.inputs.map((i) => i.name), ...Object.keys(data.shared)],
  });
  return { checkpoints, data, native: NativeNetwork.create(network, options) };
}

describe.skipIf(!hasGolden)('the reference cases (skipped without ../shared)', () => {
  for (const family of NATIVE_FAMILIES) {
    it(`${family}: logits within 2e-5 of the largest, whatever the batch and the variant`, async () => {
      const folder = join(golden, family);
      const folders = readdirSync(join(folder, 'ingredients'))
        .sort()
        .map((i) => join(folder, 'ingredients', i));
      const only = (i: number) => folders.map((_, j) => Number(i === j));
      for (const variant of ['', 'avx2', 'portable']) {
        if (variant === 'avx2' && process.arch !== 'x64') continue;
        const { checkpoints, data, native } = await networkOf(
          folders,
          join(folder, 'inputs.safetensors'),
          { threads: 2, variant },
        );
        const { tensors: matched } = await matchTensors(checkpoints);
        const all = [...Array(data.count).keys()];
        for (const [i, weights] of [only(0), only(2), undefined].entries()) {
          const weighting = resolveWeights(folders.length, weights);
          await native.load(checkpoints, planTensors(matched, weighting, 'keep'));
          const logits = await native.logits(data, all);
          const expected = tensor(
            join(folder, 'expected.safetensors'),
            ['logits.0', 'logits.2', 'uniform.logits'][i] as string,
          );
          expect(logits.length).toBe(expected.length);
          const largest = Math.max(...expected.map(Math.abs));
          const error = Math.max(...expected.map((e, j) => Math.abs(e - (logits[j] as number))));
          expect(error / largest, `${variant} ${i}`).toBeLessThan(2e-5);
          // Some examples alone, in another order, in small batches: the same bits.
          const some = [5, 3, 7, 11];
          const alone = await native.logits(data, some);
          const columns = native.numClasses;
          const same = some.flatMap((e) => [...logits.subarray(e * columns, (e + 1) * columns)]);
          expect([...alone]).toEqual(same);
        }
        await data.close();
      }
    });
  }
});
