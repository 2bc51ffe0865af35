import { byteSize } from '../../lib/checkpoint/dtype.js';
import type { TensorEntry } from '../../lib/checkpoint/types.js';

/** A tensor's elements in row-major order, from the bytes of its file: the plain reference for every reader. */
export function gather(file: Buffer, entry: Omit<TensorEntry, 'file'>): Buffer {
  const { shape, strides, offset } = entry;
  const size = byteSize(entry.dtype);
  let places = [0];
  let dense = shape.reduce((product, n) => product * n, 1);
  for (const [i, n] of shape.entries()) {
    dense = n === 0 ? 0 : dense / n;
    const stride = strides ? (strides[i] as number) : dense;
    places = places.flatMap((place) => Array.from({ length: n }, (_, k) => place + k * stride));
  }
  return Buffer.concat(
    places.map((place) => {
      const start = offset + place * size;
      if (start < 0 || start + size > file.length)
        throw new Error(`${entry.name}: outside the file`);
      return file.subarray(start, start + size);
    }),
  );
}
