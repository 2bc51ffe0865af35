import { open } from 'node:fs/promises';
import { dirname, isAbsolute, join, normalize } from 'node:path';
import { byteSize, type DType, dtypeIndex } from '../checkpoint/dtype.js';
import { elementCount } from '../checkpoint/shape.js';
import { fileError } from '../checkpoint/system_error.js';
import { StockpotError } from '../errors.js';
import { native } from '../native.js';
import type { OnnxTensor } from './model.js';

/** A tensor of a type that checkpoints have. */
export type KnownTensor = OnnxTensor & { dtype: DType };

export const isKnown = (t: OnnxTensor): t is KnownTensor => t.dtype !== undefined;

/**
 * A tensor's elements, read from its file where they lie outside of the graph.
 * @param graph path of the ONNX file
 * @throws StockpotError FORMAT, NOT_FOUND, IO
 */
export async function elementsOf(graph: string, t: KnownTensor): Promise<Uint8Array> {
  const expected = elementCount(t.shape) * byteSize(t.dtype);
  const refuse = (message: string) =>
    new StockpotError('FORMAT', `${graph}: initializer "${t.name}" ${message}`, {
      file: graph,
      tensor: t.name,
      remedy: 'Export the graph again, or fetch it again with all its files.',
    });
  if (t.data instanceof Uint8Array) {
    if (t.data.length !== expected)
      throw refuse(`has ${t.data.length} bytes, expected ${expected}`);
    return t.data;
  }
  const { location, offset, length = expected } = t.data;
  if (length !== expected) throw refuse(`has ${length} bytes, expected ${expected}`);
  const inside = normalize(location);
  if (
    location === '' ||
    isAbsolute(location) ||
    /^\.\.(\/|\\|$)/.test(inside) ||
    /\0/.test(location)
  )
    throw refuse(`lies in ${JSON.stringify(location)}, expected a file beside the graph`);
  const path = join(dirname(graph), inside);
  const handle = await open(path, 'r').catch((cause) => {
    throw fileError(path, cause);
  });
  try {
    const { size } = await handle.stat();
    if (offset + length > size)
      throw refuse(`ends at byte ${offset + length} of ${path}, which has ${size}`);
    const bytes = new Uint8Array(length);
    for (let at = 0; at < length; ) {
      const { bytesRead } = await handle.read(bytes, at, length - at, offset + at);
      if (bytesRead === 0) throw refuse(`cannot be read from ${path}: it became shorter`);
      at += bytesRead;
    }
    return bytes;
  } catch (cause) {
    throw cause instanceof StockpotError ? cause : fileError(path, cause);
  } finally {
    await handle.close();
  }
}

/** Floating-point elements in another type, rounded to nearest even. */
export function convert(bytes: Uint8Array, from: DType, to: DType): Uint8Array {
  if (from === to) return bytes;
  return native().meanBlock('', [bytes], [dtypeIndex(from)], null, dtypeIndex(to)).out;
}
