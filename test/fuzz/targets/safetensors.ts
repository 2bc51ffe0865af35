import { openCheckpoint } from '../../../lib/checkpoint/open.js';
import { inspect } from '../../../lib/inspect.js';
import { put, survives } from '../support.js';

/** A safetensors file, whole. */
export async function fuzz(bytes: Buffer): Promise<void> {
  const path = put('w.safetensors', bytes);
  await survives(async () => inspect(await openCheckpoint(path), { hash: true }));
}
