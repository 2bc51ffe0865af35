import { isFloat } from './checkpoint/dtype.js';
import { type OpenOptions, openCheckpoint } from './checkpoint/open.js';
import { elementCount, showShape } from './checkpoint/shape.js';
import type { Checkpoint, TensorEntry } from './checkpoint/types.js';
import { requireProcessor } from './cuda.js';
import { execute } from './merge/execute.js';
import { bringNamesTogether, type Renamed } from './merge/names.js';
import type { PlannedTensor } from './merge/plan.js';
import type { RunOptions } from './progress.js';

/** How a tensor that both checkpoints have differs: in type, shape or elements. */
export interface TensorDifference {
  name: string;
  /** What differs: the type, the shape, or elements. */
  message: string;
  /** Elements that differ in value; null where shapes differ. */
  different: number | null;
  elements: number;
  /** Largest |a - b|; "Infinity" where a NaN is on one side only is written as null in JSON. */
  largest: number | null;
  /** Root mean square of a - b over all elements. */
  rms: number | null;
}

/** How two checkpoints differ. */
export interface Difference {
  /** Paths as given. */
  a: string;
  b: string;
  /** Both have the same tensors, bit for bit. */
  identical: boolean;
  /** Names of tensors. */
  onlyInA: string[];
  onlyInB: string[];
  /** Tensors in both that differ. */
  differing: TensorDifference[];
  /** Number of tensors that are equal in type, shape and every bit. */
  same: number;
  notes: string[];
}

/** A comparison weighs nothing. */
const NO_WEIGHTS: readonly number[] = [];

/**
 * How two checkpoints differ, tensor by tensor, in one streamed pass.
 * @throws StockpotError NOT_FOUND, IO, FORMAT, UNSUPPORTED, CHANGED; DEVICE for one that is named; ABORTED
 */
export async function diff(
  a: string | Checkpoint,
  b: string | Checkpoint,
  options: OpenOptions & RunOptions = {},
): Promise<Difference> {
  requireProcessor(options.device, 'checkpoints are compared');
  const checkpoints = [
    typeof a === 'string' ? await openCheckpoint(a, options) : a,
    typeof b === 'string' ? await openCheckpoint(b, options) : b,
  ] as const;
  const { renamed, notes } = bringNamesTogether(checkpoints);
  const [left, right] = renamed as [Renamed, Renamed];
  const common = [...left.keys()].filter((n) => right.has(n));
  const comparable = common.flatMap((name): PlannedTensor[] => {
    const [ea, eb] = [left.get(name) as TensorEntry, right.get(name) as TensorEntry];
    if (String(ea.shape) !== String(eb.shape)) return [];
    return [
      {
        name,
        dtype: ea.dtype,
        shape: ea.shape,
        storedName: name,
        op: 'compare',
        weights: NO_WEIGHTS,
        equal: true,
        places: [
          [0, ea],
          [1, eb],
        ],
      },
    ];
  });
  const { findings } = await execute(checkpoints, [{ name: '', tensors: comparable }], {
    ...options,
    sink: 'discard',
    outputs: [{ fd: -1, prefix: new Uint8Array(), path: '' }],
    phase: 'compare',
  });
  const found = new Map(findings.map((f) => [comparable[f.segment]?.name as string, f]));
  const differing = common.flatMap((name): TensorDifference[] => {
    const [ea, eb] = [left.get(name) as TensorEntry, right.get(name) as TensorEntry];
    const elements = elementCount(ea.shape);
    if (String(ea.shape) !== String(eb.shape)) {
      return [
        {
          name,
          message: `shape ${showShape(ea.shape)} against ${showShape(eb.shape)}`,
          different: null,
          elements,
          largest: null,
          rms: null,
        },
      ];
    }
    const f = found.get(name);
    if (!f && ea.dtype === eb.dtype) return [];
    const type =
      ea.dtype === eb.dtype ? '' : `${ea.dtype} against ${eb.dtype}${f ? ', ' : ', equal values'}`;
    const what = f
      ? `${f.count} of ${elements} elements differ, by at most ${isFloat(ea.dtype) ? f.largest.toPrecision(3) : f.largest}`
      : '';
    return [
      {
        name,
        message: type + what,
        different: f?.count ?? 0,
        elements,
        largest: f?.largest ?? 0,
        rms: f ? Math.sqrt(f.sumOfSquares / elements) : 0,
      },
    ];
  });
  const onlyInA = [...left.keys()].filter((n) => !right.has(n));
  const onlyInB = [...right.keys()].filter((n) => !left.has(n));
  return {
    a: checkpoints[0].path,
    b: checkpoints[1].path,
    identical: onlyInA.length + onlyInB.length + differing.length === 0,
    onlyInA,
    onlyInB,
    differing,
    same: common.length - differing.length,
    notes,
  };
}
