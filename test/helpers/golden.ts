import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { packageRoot } from '../../lib/native.js';

/** Reference cases made by the field's own libraries; they lie beside the project, and may not be there. */
export const golden = join(packageRoot, '../shared/golden');
export const hasGolden = existsSync(golden);

export const NATIVE_FAMILIES = [
  'vit_hf',
  'vit_timm',
  'clip_soups_pt',
  'clip_hf',
  'bert_hf',
  't5_relu',
  't5_gated',
];

export const ingredientsOf = (family: string): string[] =>
  readdirSync(join(golden, family, 'ingredients'))
    .sort()
    .map((i) => join(golden, family, 'ingredients', i));

export const dataOf = (family: string): string => join(golden, family, 'inputs.safetensors');

/** Every float32 tensor of a case's expected values, by name. */
export function expectedOf(family: string): Map<string, Float32Array> {
  const bytes = readFileSync(join(golden, family, 'expected.safetensors'));
  const length = Number(bytes.readBigUInt64LE(0));
  const header = JSON.parse(bytes.toString('utf8', 8, 8 + length)) as Record<
    string,
    { dtype: string; data_offsets: [number, number] }
  >;
  const at = bytes.byteOffset + 8 + length;
  return new Map(
    Object.entries(header)
      .filter(([, t]) => t.dtype === 'F32')
      .map(
        ([
          name,
          {
            data_offsets: [begin, end],
          },
        ]) => [name, new Float32Array(bytes.buffer.slice(at + begin, at + end))],
      ),
  );
}

export const settingsOf = (family: string) =>
  JSON.parse(readFileSync(join(golden, family, 'expected.json'), 'utf8'));
