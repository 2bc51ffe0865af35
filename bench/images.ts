// Preparing images: a folder of JPEGs of 500 × 375 to 224 × 224 (bicubic, shortest edge, cut out of the middle), and its
// two parts alone, in images a second. Run by bench/images.mjs; prints JSON.
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import sharp from 'sharp';
import { decodeImage } from '../lib/data/decode.js';
import { openDataSet } from '../lib/data/open.js';
import { type Preparation, place } from '../lib/data/preparation.js';
import { resample } from '../lib/data/resample.js';

const [width, height, count] = [500, 375, 400];
const preparation: Preparation = {
  file: '',
  width: 224,
  height: 224,
  resize: { mode: 'shortest', edge: 224 },
  asIs: false,
  filter: 'bicubic',
  halves: 'even',
  fill: [0, 0, 0],
  orient: false,
  onWhite: false,
  table: new Float32Array(3 * 256),
};

/** Waves and noise: compresses about as photographs do. */
function photograph(seed: number): Uint8Array {
  let state = seed;
  const data = new Uint8Array(width * height * 3);
  for (let i = 0; i < data.length; i++) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    const [x, y] = [Math.floor(i / 3) % width, Math.floor(i / 3 / width)];
    const wave = Math.sin((x * (1 + (i % 3)) + seed * y) / 40) + Math.cos((x * y) / 5000);
    data[i] = 128 + 50 * wave + 24 * (state / 2 ** 32 - 0.5);
  }
  return data;
}

const folder = await mkdtemp(join(tmpdir(), 'stockpot-images-'));
try {
  await mkdir(join(folder, 'class'));
  let bytes = 0;
  for (let i = 0; i < count; i++) {
    const raw = { width, height, channels: 3 } as const;
    const jpeg = await sharp(photograph(i % 8), { raw })
      .jpeg({ quality: 85 })
      .toBuffer();
    bytes += jpeg.length;
    await writeFile(join(folder, 'class', `${i}.jpg`), jpeg);
  }
  const rate = async (n: number, work: () => Promise<unknown>) => {
    await work();
    const began = performance.now();
    await work();
    return Math.round((1000 * n) / (performance.now() - began));
  };
  const file = await readFile(join(folder, 'class', '0.jpg'));
  const image = await decodeImage(file, preparation);
  const many = (work: () => Promise<unknown>) => async () => {
    for (let i = 0; i < 50; i++) await Promise.all([work(), work()]);
  };
  const result = {
    image: `${width} x ${height}, JPEG of ${Math.round(bytes / count / 1000)} kB, to 224 x 224`,
    decode: await rate(
      100,
      many(() => decodeImage(file, preparation)),
    ),
    resample: await rate(
      100,
      many(() =>
        resample(image, place(preparation, width, height), preparation.filter, preparation),
      ),
    ),
    whole: await rate(count, async () => {
      const data = await openDataSet(folder, { preparation });
      await data.close();
    }),
  };
  console.log(JSON.stringify(result));
} finally {
  await rm(folder, { recursive: true });
}
