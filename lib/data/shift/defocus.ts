import { setImmediate } from 'node:timers/promises';
import type { RgbImage } from '../resample.js';

/** Multiplications at a time; then other work of the process has its turn. */
const SLICE = 4e6;

/** A position beside an image of n rows or columns, mirrored at its edge, which is not repeated (OpenCV's REFLECT_101). */
export function mirrored(i: number, n: number): number {
  if (n === 1) return 0;
  const period = 2 * (n - 1);
  const at = ((i % period) + period) % period;
  return at < n ? at : period - at;
}

/** Rows of weights that sum to 1; its middle is the pixel itself. */
export interface Kernel {
  size: number;
  weights: Float64Array;
}

/**
 * A disk of a radius in pixels whose edge is smoothed by a Gaussian of a deviation, as ImageNet-C's `disk`. There, disks
 * of radius 8 and more reach the kernel's edge, where the smoothing mirrors them, so that their weights sum to 1.013 and
 * 1.011: the images are that much brighter, and so they are here.
 */
export function disk(radius: number, deviation: number): Kernel {
  const half = Math.max(8, radius);
  const size = 2 * half + 1;
  const sharp = new Float64Array(size * size);
  let inside = 0;
  for (let y = -half; y <= half; y++) {
    for (let x = -half; x <= half; x++) {
      if (x * x + y * y > radius * radius) continue;
      sharp[(y + half) * size + x + half] = 1;
      inside++;
    }
  }
  const smooth = gaussian(radius <= 8 ? 1 : 2, deviation);
  const reach = (smooth.length - 1) / 2;
  const weights = new Float64Array(size * size);
  for (let y = 0; y < size; y++) {
    for (let x = 0; x < size; x++) {
      let sum = 0;
      for (let dy = -reach; dy <= reach; dy++) {
        for (let dx = -reach; dx <= reach; dx++) {
          const from = sharp[mirrored(y + dy, size) * size + mirrored(x + dx, size)] as number;
          sum += (smooth[dy + reach] as number) * (smooth[dx + reach] as number) * from;
        }
      }
      weights[y * size + x] = sum / inside;
    }
  }
  return { size, weights };
}

function gaussian(reach: number, deviation: number): number[] {
  const raw = Array.from({ length: 2 * reach + 1 }, (_, i) =>
    Math.exp(-((i - reach) ** 2) / (2 * deviation * deviation)),
  );
  const sum = raw.reduce((a, b) => a + b, 0);
  return raw.map((w) => w / sum);
}

/** Each sample as the kernel's weighted mean of its neighbours', 0 to 255. */
export async function filtered(
  { data, width, height }: RgbImage,
  k: Kernel,
): Promise<Float64Array> {
  const half = (k.size - 1) / 2;
  const taps: { dx: number; dy: number; weight: number }[] = [];
  k.weights.forEach((weight, i) => {
    // What a smoothing of 1e-20 leaves changes no sample.
    if (weight > 1e-12)
      taps.push({ dx: (i % k.size) - half, dy: Math.floor(i / k.size) - half, weight });
  });
  const out = new Float64Array(data.length);
  const column = Int32Array.from(
    { length: width + 2 * half },
    (_, x) => 3 * mirrored(x - half, width),
  );
  let done = 0;
  for (let y = 0; y < height; y++) {
    for (const { dx, dy, weight } of taps) {
      const row = 3 * width * mirrored(y + dy, height);
      for (let x = 0, to = 3 * width * y; x < width; x++, to += 3) {
        const from = row + (column[x + dx + half] as number);
        out[to] = (out[to] as number) + weight * (data[from] as number);
        out[to + 1] = (out[to + 1] as number) + weight * (data[from + 1] as number);
        out[to + 2] = (out[to + 2] as number) + weight * (data[from + 2] as number);
      }
    }
    done += 3 * width * taps.length;
    if (done > SLICE) {
      done = 0;
      await setImmediate();
    }
  }
  return out;
}
