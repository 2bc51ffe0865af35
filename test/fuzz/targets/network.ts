import { isDType } from '../../../lib/checkpoint/dtype.js';
import { isObject } from '../../../lib/checkpoint/json.js';
import { findConfig } from '../../../lib/models/config.js';
import { buildNetwork } from '../../../lib/models/index.js';
import { checkpointOf } from '../../models/made_up.js';
import { put, survives } from '../support.js';

const isShape = (v: unknown): v is number[] =>
  Array.isArray(v) && v.every((d) => Number.isSafeInteger(d) && d >= 0);

/** A tensor table and a config: {"config": …, "tensors": {"name": shape or [dtype, shape]}}. */
export async function fuzz(bytes: Buffer): Promise<void> {
  let both: unknown;
  try {
    both = JSON.parse(bytes.toString());
  } catch {}
  if (!isObject(both) || !isObject(both.tensors)) {
    // What is not JSON goes to the reader of configs as it is.
    const file = put('config.json', bytes);
    await survives(() => findConfig(file, file));
    return;
  }
  const tensors = new Map<string, { shape: readonly number[]; dtype?: 'F32' }>();
  for (const [name, entry] of Object.entries(both.tensors)) {
    const [dtype, shape] = Array.isArray(entry) && Array.isArray(entry[1]) ? entry : ['F32', entry];
    if (isShape(shape) && typeof dtype === 'string' && isDType(dtype))
      tensors.set(name, { shape, dtype: dtype as 'F32' });
  }
  const file = put('config.json', JSON.stringify(both.config) ?? '');
  await survives(async () => {
    buildNetwork(checkpointOf(tensors), await findConfig(file, file), {
      sequenceLength: 8,
      classes: { n: 3, sequenceLength: 8 },
      labelIds: [[3, 1]],
    });
  });
}
