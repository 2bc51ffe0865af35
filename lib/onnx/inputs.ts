import type * as Ort from 'onnxruntime-node';
import type { Tensor } from 'onnxruntime-node';
import type { DataSet } from '../data/types.js';
import { StockpotError } from '../errors.js';
import { type OnnxModel, type OnnxValue, typeOf } from './model.js';
import { convert } from './tensors.js';

/** An input of a graph, and what of the data goes there. */
export interface Feed {
  /** The graph's name. */
  input: string;
  /** The data's name. */
  from: string;
  shared: boolean;
  type: 'float32' | 'float64' | 'float16' | 'int64' | 'int32' | 'bool';
  /** Of one example; of all classes for a shared input. */
  shape: readonly number[];
}

const TYPES: Readonly<Record<string, Feed['type']>> = {
  F32: 'float32',
  F64: 'float64',
  F16: 'float16',
  I64: 'int64',
  I32: 'int32',
  BOOL: 'bool',
};

/**
 * Finds the data for each input of a graph: by name, or, where each has just one, whatever the name.
 * @throws StockpotError MISMATCH with every input that the data lacks or that has another shape
 */
export function findFeeds(path: string, model: OnnxModel, data: DataSet): Feed[] {
  const own = data.inputs.map((i) => ({ ...i, shared: false }));
  const shared = Object.entries(data.shared).map(([name, t]) => ({ ...t, name, shared: true }));
  const all = [...own, ...shared];
  const only = model.inputs.length === 1 && own.length === 1 ? own[0] : undefined;
  const details: { file: string; tensor: string; message: string }[] = [];
  const feeds: Feed[] = [];
  for (const input of model.inputs) {
    const found = all.find((i) => i.name === input.name) ?? only;
    const type = TYPES[typeOf(input.type) ?? ''];
    const wrong = !found
      ? `is an input of the graph that the data does not have (it has ${all.map((i) => i.name).join(', ')})`
      : !type
        ? 'is an input of a type that is not known'
        : misfit(input, found.shared ? found.shape : [1, ...found.shape], found.shared);
    if (wrong) details.push({ file: path, tensor: input.name, message: wrong });
    else if (found && type)
      feeds.push({
        input: input.name,
        from: found.name,
        shared: found.shared,
        type,
        shape: found.shape,
      });
  }
  const [first] = details;
  if (!first) return feeds;
  throw new StockpotError('MISMATCH', `${path}: "${first.tensor}" ${first.message}`, {
    ...first,
    details,
    remedy:
      'Export the graph with the inputs named as the data has them (pixel_values, or input_ids and attention_mask), and with a free first dimension (dynamic_axes, dynamic_shapes).',
  });
}

function misfit(input: OnnxValue, shape: readonly number[], shared: boolean): string | undefined {
  const expected = input.shape;
  if (!expected) return undefined;
  const show = (s: readonly (number | string)[]) => `[${s.join(', ')}]`;
  const fits =
    expected.length === shape.length &&
    // A fixed number of examples is filled up.
    expected.every((d, i) => typeof d === 'string' || d === shape[i] || (i === 0 && !shared));
  return fits
    ? undefined
    : `is ${show(expected)} in the graph but ${show(shared ? shape : ['n', ...shape.slice(1)])} in the data`;
}

/** Examples that a graph takes at once, where it was exported for a fixed number. */
export function fixedBatch(model: OnnxModel, feeds: readonly Feed[]): number | undefined {
  const sizes = feeds
    .filter((f) => !f.shared)
    .map((f) => model.inputs.find((i) => i.name === f.input)?.shape?.[0])
    .filter((n): n is number => typeof n === 'number' && n > 0);
  return sizes.length > 0 ? Math.max(...sizes) : undefined;
}

/** Numbers as a tensor of the runtime. */
export function toTensor(
  ort: typeof Ort,
  type: Feed['type'],
  values: Float32Array | Int32Array,
  shape: readonly number[],
): Tensor {
  switch (type) {
    case 'float32':
      return new ort.Tensor(type, Float32Array.from(values), shape);
    case 'float64':
      return new ort.Tensor(type, Float64Array.from(values), shape);
    case 'float16':
      return new ort.Tensor(type, halves(values), shape);
    case 'int64':
      return new ort.Tensor(type, BigInt64Array.from(values as Int32Array, BigInt), shape);
    case 'int32':
      return new ort.Tensor(type, Int32Array.from(values), shape);
    case 'bool':
      return new ort.Tensor(
        type,
        Uint8Array.from(values, (x) => (x === 0 ? 0 : 1)),
        shape,
      );
  }
}

function halves(values: Float32Array | Int32Array): Uint16Array {
  const f32 = Float32Array.from(values);
  const bytes = convert(new Uint8Array(f32.buffer), 'F32', 'F16');
  return new Uint16Array(bytes.buffer, bytes.byteOffset, f32.length);
}
