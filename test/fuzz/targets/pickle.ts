import { openCheckpoint } from '../../../lib/checkpoint/open.js';
import { storedZip } from '../../checkpoint/stored_zip.js';
import { put, survives } from '../support.js';

/** data.pkl alone, in an archive that is in order and has some storages. */
export async function fuzz(bytes: Buffer): Promise<void> {
  const storages = ['0', '1', '2', '3'].map((n) => ({
    name: `w/data/${n}`,
    data: Buffer.alloc(64),
  }));
  const path = put('w.pt', storedZip([{ name: 'w/data.pkl', data: bytes }, ...storages]));
  await survives(() => openCheckpoint(path));
}
