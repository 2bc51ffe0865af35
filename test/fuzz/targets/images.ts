import { imageFolder } from '../../../lib/data/folder.js';
import { imageSet } from '../../../lib/data/image_set.js';
import { torchvisionTable } from '../../../lib/data/normalise.js';
import { at, put, survives } from '../support.js';

const preparation = {
  file: 'preprocessor_config.json',
  width: 4,
  height: 4,
  resize: { mode: 'shortest', edge: 4 },
  asIs: false,
  filter: 'bicubic',
  halves: 'even',
  fill: [0, 0, 0],
  orient: true,
  onWhite: true,
  table: torchvisionTable([0, 0, 0], [1, 1, 1]),
} as const;

/** One image in a folder of its class. */
export async function fuzz(bytes: Buffer): Promise<void> {
  put('images/cat/x.png', bytes);
  await survives(async () => {
    const set = await imageSet(await imageFolder(at('images')), preparation, { threads: 1 });
    await set.batch([0]);
    await set.close();
  });
}
