import { byteSize, type DType, isFloat } from '../checkpoint/dtype.js';
import { elementCount } from '../checkpoint/shape.js';
import type { TensorEntry } from '../checkpoint/types.js';
import { StockpotError } from '../errors.js';
import type { OP } from '../native.js';
import type { Matched } from './match.js';
import type { Weighting } from './weights.js';

/** The output's type: as the first ingredient stores each tensor, or one type for all floating-point tensors. */
export type OutputDType = 'keep' | 'f32' | 'f16' | 'bf16';

/** One tensor of the soup: what is done with the ingredients' tensors. */
export interface PlannedTensor {
  name: string;
  /** Name as the first ingredient stores it. */
  storedName: string;
  dtype: DType;
  shape: readonly number[];
  op: keyof typeof OP;
  /** One an ingredient. */
  weights: readonly number[];
  /** Every member has the same share. */
  equal: boolean;
  /** One an ingredient; null where it is not read. */
  places: (readonly [number, TensorEntry] | null)[];
}

const CHOSEN: Record<Exclude<OutputDType, 'keep'>, DType> = {
  f32: 'F32',
  f16: 'F16',
  bf16: 'BF16',
};

/** @throws StockpotError USAGE, for callers without types */
function requireKnown(choice: OutputDType): void {
  if (choice === 'keep' || Object.hasOwn(CHOSEN, choice)) return;
  throw new StockpotError(
    'USAGE',
    `expected dtype to be keep, ${Object.keys(CHOSEN).join(', ')} but received ${choice}`,
  );
}

function outputDType(first: DType, choice: OutputDType): DType {
  if (!isFloat(first)) return first;
  if (choice !== 'keep') return CHOSEN[choice];
  return first.startsWith('F8') ? 'BF16' : first; // fp8 has too few bits for a mean
}

/**
 * Decides for each tensor what is done (behaviours 3 to 7): floating-point tensors are averaged, counters of batches
 * take the maximum, other integers must agree. The widest types come first, so that every tensor of the output is
 * aligned; within a width, the first ingredient's order.
 * @param mixture the weights of all tensors, or of each by its name in the soup
 * @throws StockpotError USAGE for a type that is none of the choices
 */
export function planTensors(
  matched: readonly Matched[],
  mixture: Weighting | ((name: string) => Weighting),
  choice: OutputDType,
): PlannedTensor[] {
  requireKnown(choice);
  const planned = matched.map(({ name, entries }): PlannedTensor => {
    const weighting = typeof mixture === 'function' ? mixture(name) : mixture;
    const member = new Set(weighting.members);
    const first = entries[0] as TensorEntry;
    let places = entries.map((e, i) => (e && member.has(i) ? ([i, e] as const) : null));
    // A buffer that only ingredients of weight 0 store is still copied.
    if (places.every((p) => p === null))
      places = entries.map((e, i) => (e ? ([i, e] as const) : null));
    return {
      name,
      storedName: first.name,
      dtype: outputDType(first.dtype, choice),
      shape: first.shape,
      op: isFloat(first.dtype) ? 'mean' : name.endsWith('num_batches_tracked') ? 'max' : 'same',
      weights: weighting.weights,
      equal: weighting.equal || entries.includes(null),
      places,
    };
  });
  return planned
    .map((t, i) => ({ t, i }))
    .sort((a, b) => byteSize(b.t.dtype) - byteSize(a.t.dtype) || a.i - b.i)
    .map(({ t }) => t);
}

export const tensorBytes = (t: { dtype: DType; shape: readonly number[] }): number =>
  elementCount(t.shape) * byteSize(t.dtype);

/** Bytes of tensor data that the plan reads. */
export const bytesToRead = (tensors: readonly PlannedTensor[]): number =>
  tensors.reduce(
    (sum, t) =>
      sum +
      t.places.reduce(
        (s, p) => s + (p ? tensorBytes({ dtype: p[1].dtype, shape: p[1].shape }) : 0),
        0,
      ),
    0,
  );

/** Bytes of tensor data that the plan writes. */
export const bytesToWrite = (tensors: readonly PlannedTensor[]): number =>
  tensors.reduce((sum, t) => sum + tensorBytes(t), 0);
