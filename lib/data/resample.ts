import { runJob } from '../checkpoint/job.js';
import { native } from '../native.js';
import type { RunOptions } from '../progress.js';
import { type Filter, taps } from './filters.js';

/** Interleaved RGB, rows from the top. */
export interface RgbImage {
  data: Uint8Array;
  width: number;
  height: number;
}

/** The size an image is scaled to, and where the output's top left corner lies in it (negative: beside it). */
export interface Placement {
  width: number;
  height: number;
  left: number;
  top: number;
}

/**
 * Scales an image and cuts a window out of it, as planes: uint8 [3, height, width]. The arithmetic is Pillow's own for
 * 8-bit images (two passes, across first, bytes between them, 22-bit weights: `ImagingResampleInner`), so the result is
 * Pillow's bit for bit (Pillow 13 takes the passes the other way round for some shapes, which earlier versions do not);
 * only what the window needs is computed. libvips is not used for this: it shrinks by whole numbers first and places
 * pixels otherwise when it enlarges, which made differences of 0.2 to 10 of 255 on average.
 * The addon does it, on a thread of its own.
 * @param out its `fill` is the colour of what lies outside the image
 * @param run `variant`, for tests: `plain` or `avx2`
 * @throws StockpotError ABORTED
 */
export async function resample(
  source: RgbImage,
  placement: Placement,
  filter: Filter,
  out: { width: number; height: number; fill: readonly number[] },
  run: Pick<RunOptions, 'signal'> & { variant?: string } = {},
): Promise<Uint8Array> {
  const { width, height, fill } = out;
  const plane = width * height;
  const pixels = new Uint8Array(3 * plane);
  const x0 = Math.max(0, placement.left);
  const x1 = Math.min(placement.width, placement.left + width);
  const y0 = Math.max(0, placement.top);
  const y1 = Math.min(placement.height, placement.top + height);
  if (x1 - x0 < width || y1 - y0 < height)
    for (let c = 0; c < 3; c++) pixels.fill(fill[c] as number, c * plane, (c + 1) * plane);
  if (x1 <= x0 || y1 <= y0) return pixels;
  await runJob(
    () =>
      native().resample({
        sourceWidth: source.width,
        sourceHeight: source.height,
        rgb: source.data,
        columns: taps(filter, source.width, placement.width, x0, x1),
        rows: taps(filter, source.height, placement.height, y0, y1),
        width,
        height,
        left: x0 - placement.left,
        top: y0 - placement.top,
        planes: pixels,
        variant: run.variant ?? '',
      }),
    { file: () => '', tensor: () => undefined },
    { signal: run.signal },
    'prepare',
    0,
  );
  return pixels;
}
