import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { classNamesOf } from '../../../lib/data/config.js';
import { prepareImage } from '../../../lib/data/image_set.js';
import { readPreparation } from '../../../lib/data/read_preparation.js';
import { packageRoot } from '../../../lib/native.js';
import { put, survives } from '../support.js';

const image = readFileSync(join(packageRoot, 'examples/digits/heldout/0/0208.png'));

/** preprocessor_config.json and its like; an image is prepared as it says. */
export async function fuzz(bytes: Buffer): Promise<void> {
  const file = put('preprocessor_config.json', bytes);
  await survives(async () => classNamesOf(file, file));
  await survives(async () => {
    const preparation = await readPreparation(file, file);
    // Sizes that take long to scale to are tested in bombs.test.ts.
    const { resize, width, height } = preparation;
    const edges = [width, height, ...(resize ? Object.values(resize) : [])].filter(
      (x) => typeof x === 'number',
    );
    if (Math.max(...edges) <= 256) await prepareImage(image, preparation).catch(refused);
  });
}

/** Images are refused by an Error that says why, to which the set adds the file's name. */
function refused(error: unknown): void {
  if (error instanceof TypeError || error instanceof RangeError) throw error;
}
