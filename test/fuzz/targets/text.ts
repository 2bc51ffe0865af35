import { join } from 'node:path';
import { openDataSet } from '../../../lib/data/open.js';
import { packageRoot } from '../../../lib/native.js';
import { put, survives } from '../support.js';

const tokenizer = join(packageRoot, 'test/fixtures/heads/tokenizer.json');

/** A text file; the first byte says which kind. */
export async function fuzz(bytes: Buffer): Promise<void> {
  const kind = ['tsv', 'csv', 'jsonl'][(bytes[0] ?? 0) % 3];
  const path = put(`texts.${kind}`, bytes.subarray(1));
  for (const skipBad of [false, true]) {
    await survives(async () => {
      const set = await openDataSet(path, { tokenizer, skipBad });
      await set.batch([0]);
      await set.close();
    });
  }
}
