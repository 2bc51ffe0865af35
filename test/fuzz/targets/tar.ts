import { shards } from '../../../lib/data/shards.js';
import { put, survives } from '../support.js';

/** A WebDataset shard; its images are not decoded. */
export async function fuzz(bytes: Buffer): Promise<void> {
  const path = put('w.tar', bytes);
  await survives(async () => {
    const source = await shards([path], ['cat', 'dog']);
    for await (const example of source.examples()) if ('load' in example) await example.load();
  });
}
