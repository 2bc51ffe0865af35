import { openCheckpoint } from '../../../lib/checkpoint/open.js';
import { put, survives } from '../support.js';

/** A zip archive of torch.save, whole. */
export async function fuzz(bytes: Buffer): Promise<void> {
  const path = put('w.pt', bytes);
  await survives(() => openCheckpoint(path));
}
