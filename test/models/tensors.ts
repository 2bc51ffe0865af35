import { readFile } from 'node:fs/promises';
import type { Checkpoint } from '../../lib/checkpoint/types.js';
import { gather } from '../checkpoint/gather.js';
import { decode } from '../helpers/floats.js';
import { type ReadFile, readBack } from '../helpers/safetensors.js';
import type { ReferenceInput } from './reference.js';

/** A checkpoint's floating-point tensors under their stored names. */
export async function readWeights(checkpoint: Checkpoint): Promise<Map<string, Float64Array>> {
  const files = await Promise.all(checkpoint.files.map((f) => readFile(f.path)));
  return new Map(
    [...checkpoint.tensors.values()].map((entry) => {
      const bytes = gather(files[entry.file] as Buffer, entry);
      return [entry.name, Float64Array.from(decode(entry.dtype, bytes))];
    }),
  );
}

const PER_EXAMPLE = ['pixel_values', 'input_ids', 'attention_mask', 'token_type_ids'];

/** The inputs of a data set's file; of those that have one row an example, the first `examples`. */
export function readInputs(file: ReadFile, examples: number): Record<string, ReferenceInput> {
  const inputs: Record<string, ReferenceInput> = {};
  for (const { name, dtype, shape, bytes } of file.tensors.values()) {
    if (name === 'labels') continue;
    const [n = 0, ...rest] = shape;
    const kept = PER_EXAMPLE.includes(name) ? Math.min(n, examples) : n;
    const data = decode(dtype, bytes.subarray(0, (bytes.length / n) * kept));
    inputs[name] = { shape: [kept, ...rest], data };
  }
  return inputs;
}

export { readBack };

/** A [n, m] input as rows. */
export const rowsOf = ({ shape, data }: ReferenceInput): number[][] => {
  const [n = 0, m = 0] = shape;
  return Array.from({ length: n }, (_, i) => Array.from(data).slice(i * m, (i + 1) * m));
};
