import { byteSize, type DType } from '../dtype.js';
import { elementCount, showShape } from '../shape.js';
import type { TensorEntry } from '../types.js';
import { Problem } from './problem.js';
import { show } from './show.js';
import { type Tensor, Tuple, type Value } from './values.js';
import type { Member } from './zip.js';

/** A tensor's place in the one file that it was read from. */
export type Place = Omit<TensorEntry, 'file' | 'name'>;

/** As many dimensions as torch allows. */
const MAX_RANK = 64;

const bad = (expected: string, found: string): Problem =>
  new Problem('FORMAT', `expected ${expected}, found ${found}`);

function naturals(value: Value, what: string): number[] {
  const list = value instanceof Tuple ? value.items : value;
  if (!Array.isArray(list)) throw bad(`a tuple as its ${what}`, 'something else');
  if (list.length > MAX_RANK) {
    throw bad(`at most ${MAX_RANK} dimensions`, `${list.length} in its ${what}`);
  }
  return list.map((item: Value) => natural(item, what));
}

function natural(value: Value, what: string): number {
  if (typeof value === 'number' && Number.isSafeInteger(value) && value >= 0) return value;
  const found =
    typeof value === 'number' ? `${value}` : typeof value === 'bigint' ? 'a huge one' : 'none';
  throw bad(`non-negative integers as its ${what}`, found);
}

/** Strides of row-major order without gaps. */
function rowMajor(shape: readonly number[]): number[] {
  const strides = new Array<number>(shape.length);
  let next = 1;
  for (let i = shape.length - 1; i >= 0; i--) {
    strides[i] = next;
    next *= shape[i] as number;
  }
  return strides;
}

/** The strides that matter: none where elements lie in row-major order; 1 for a dimension of one element. */
function normalStrides(
  shape: readonly number[],
  strides: readonly number[],
): readonly number[] | undefined {
  if (shape.includes(0)) return undefined;
  const dense = rowMajor(shape);
  if (shape.every((size, i) => size === 1 || strides[i] === dense[i])) return undefined;
  return strides.map((stride, i) => (shape[i] === 1 ? 1 : stride));
}

/** Position in the storage, in elements, after the last element that the view reaches; may be no safe integer. */
function end(first: number, shape: readonly number[], strides: readonly number[]): number {
  if (shape.includes(0)) return 0;
  return shape.reduce((sum, size, i) => sum + (size - 1) * (strides[i] as number), first + 1);
}

/** The dtype of the elements, if it is one that can be read. */
function readable(tensor: Tensor): DType {
  const { dtype, name } = tensor.elements;
  if (dtype !== undefined) return dtype;
  throw new Problem(
    'UNSUPPORTED',
    `expected a dtype that can be averaged, found torch.${name}`,
    'convert it to float32, float16 or bfloat16 and re-save, or leave it out',
  );
}

/**
 * Where a tensor's elements lie in the file, checked against the true size of the storage's entry in the
 * archive (behaviour 19).
 *
 * @param entry - finds a storage's entry by its key
 * @throws {Problem} FORMAT where numbers are invalid or the view leaves its storage; UNSUPPORTED for a dtype
 *   that is not read
 */
export function locate(tensor: Tensor, entry: (key: string) => Member): Place {
  const dtype = readable(tensor);
  const shape = naturals(tensor.shape, 'shape');
  const strides = naturals(tensor.strides, 'strides');
  const first = natural(tensor.storageOffset, 'offset');
  if (strides.length !== shape.length) {
    throw bad(`${shape.length} strides for shape ${showShape(shape)}`, `${strides.length}`);
  }
  if (!Number.isSafeInteger(elementCount(shape) * byteSize(dtype))) {
    throw bad('a shape of a possible size', showShape(shape));
  }

  const { key, count, elements } = tensor.storage;
  const member = entry(key);
  const claimed = count * byteSize(elements.dtype ?? dtype);
  if (claimed > member.size) {
    throw bad(`${claimed} bytes in storage ${show(key)}`, `${member.size}`);
  }
  const needed = end(first, shape, strides) * byteSize(dtype);
  // Written so that a sum beyond the safe integers, or NaN, fails too.
  if (!(needed <= member.size)) {
    throw bad(
      `a view within the ${member.size} bytes of storage ${show(key)}`,
      `shape ${showShape(shape)}, strides ${showShape(strides)}, offset ${first}, which end at byte ${needed}`,
    );
  }

  const offset = member.offset + (elementCount(shape) === 0 ? 0 : first * byteSize(dtype));
  const kept = normalStrides(shape, strides);
  return { dtype, shape, offset, ...(kept && { strides: kept }) };
}
