import { parquetSource } from '../../../lib/data/parquet/sets.js';
import { put, survives } from '../support.js';

/** A parquet file of texts or of images; its rows are read. */
export async function fuzz(bytes: Buffer): Promise<void> {
  const path = put('w.parquet', bytes);
  await survives(async () => {
    const source = await parquetSource([path]);
    const found = 'texts' in source ? source.texts : await source.images(['cat', 'dog']);
    for await (const example of found.examples()) if ('load' in example) await example.load();
  });
}
