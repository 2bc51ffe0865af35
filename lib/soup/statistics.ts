import type { FileHandle } from 'node:fs/promises';
import { writeAll } from '../checkpoint/writing.js';
import { StockpotError } from '../errors.js';
import { type PlannedTensor, tensorBytes } from '../merge/plan.js';
import { convert } from '../onnx/tensors.js';

/**
 * Writes batch-norm statistics over the averaged ones of a file, in the output's types.
 * @param from where the file's first tensor begins; the others follow without gaps
 * @throws StockpotError NONFINITE
 */
export async function putStatistics(
  handle: FileHandle,
  from: number,
  tensors: readonly PlannedTensor[],
  statistics: ReadonlyMap<string, Float32Array>,
): Promise<void> {
  let at = from;
  for (const t of tensors) {
    const values = statistics.get(t.name);
    if (values) {
      const f32 = new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
      const bytes = convert(f32, 'F32', t.dtype);
      if (bytes.length !== tensorBytes(t) || !values.every(Number.isFinite)) {
        throw new StockpotError(
          'NONFINITE',
          `tensor "${t.name}": the statistics that were computed again are not finite`,
          { tensor: t.name, remedy: 'Check the data, or leave out --recompute-batchnorm.' },
        );
      }
      await writeAll(handle, bytes, at);
    }
    at += tensorBytes(t);
  }
  await handle.sync();
}
