import { openCheckpoint } from '../../../lib/checkpoint/open.js';
import { safetensors, tensor } from '../../helpers/safetensors.js';
import { at, put, survives } from '../support.js';

put(
  'sharded/x.safetensors',
  safetensors([tensor('a.weight', 'F32', [2], 1), tensor('b', 'F32', [1], 1)]),
);
put('sharded/y.safetensors', safetensors([tensor('ids', 'I64', [1], 1)]));
put('outside.safetensors', safetensors([tensor('secret', 'F32', [1], 1)]));

/** model.safetensors.index.json, beside shards that are there. */
export async function fuzz(bytes: Buffer): Promise<void> {
  put('sharded/model.safetensors.index.json', bytes);
  await survives(async () => {
    const { files, tensors } = await openCheckpoint(at('sharded'));
    // Whatever the index says, only the folder's own files are read.
    if (tensors.has('secret')) throw new Error(`read ${files.map((f) => f.path).join(', ')}`);
  });
}
