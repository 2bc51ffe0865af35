import { tensorFile } from '../../../lib/data/tensor_file.js';
import { put, survives } from '../support.js';

/** A data set as a safetensors file of inputs and labels; held in memory, and read row by row. */
export async function fuzz(bytes: Buffer): Promise<void> {
  const path = put('data.safetensors', bytes);
  for (const cacheMemory of [2 ** 20, 0]) {
    await survives(async () => {
      const set = await tensorFile(path, { cacheMemory });
      try {
        await set.batch([0]);
      } finally {
        await set.close();
      }
    });
  }
}
