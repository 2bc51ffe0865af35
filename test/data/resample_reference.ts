import { type Filter, taps } from '../../lib/data/filters.js';
import type { Placement, RgbImage } from '../../lib/data/resample.js';

/** Rounds a sum of bytes times 22-bit weights to a byte. */
const toByte = (sum: number): number =>
  Math.min(255, Math.max(0, Math.floor((sum + 2 ** 21) / 2 ** 22)));

/**
 * What lib/data/resample.ts does, written plainly: the whole image is scaled across, then down, pixel by pixel in floating
 * point, where these sums are exact; then the window is cut out. [3, height, width].
 */
export function resampled(
  source: RgbImage,
  { width, height, left, top }: Placement,
  filter: Filter,
  out: { width: number; height: number; fill: readonly number[] },
): number[] {
  const scale = (
    at: (x: number, y: number, c: number) => number,
    axis: ReturnType<typeof taps>,
    i: number,
    pick: (tap: number) => [number, number, number],
  ) => {
    let sum = 0;
    for (let j = 0; j < (axis.length[i] as number); j++)
      sum +=
        at(...pick((axis.start[i] as number) + j)) * (axis.weights[i * axis.width + j] as number);
    return toByte(sum);
  };
  const columns = taps(filter, source.width, width, 0, width);
  const rows = taps(filter, source.height, height, 0, height);
  const pixel = (x: number, y: number, c: number) =>
    source.data[(y * source.width + x) * 3 + c] as number;
  const across = new Map<string, number>();
  const acrossAt = (x: number, y: number, c: number): number => {
    const key = `${x} ${y} ${c}`;
    const known = across.get(key) ?? scale(pixel, columns, x, (tap) => [tap, y, c]);
    across.set(key, known);
    return known;
  };
  const planes: number[] = [];
  for (let c = 0; c < 3; c++)
    for (let y = top; y < top + out.height; y++)
      for (let x = left; x < left + out.width; x++) {
        const inside = x >= 0 && x < width && y >= 0 && y < height;
        planes.push(
          inside ? scale(acrossAt, rows, y, (tap) => [x, tap, c]) : (out.fill[c] as number),
        );
      }
  return planes;
}
