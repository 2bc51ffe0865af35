import { isFloat } from '../checkpoint/dtype.js';
import { runJob } from '../checkpoint/job.js';
import { elementCount } from '../checkpoint/shape.js';
import { OpenSources } from '../checkpoint/source_table.js';
import type { Checkpoint, TensorEntry } from '../checkpoint/types.js';
import { StockpotError } from '../errors.js';
import { type GramResult, native } from '../native.js';
import type { RunOptions } from '../progress.js';
import { resolveMemory, resolveThreads } from '../threads.js';
import type { Matched } from './match.js';
import { tensorBytes } from './plan.js';

/**
 * Inner products of k checkpoints' weights, taken in float64 of the first one r (the reference) and the others'
 * differences from it, so that small differences of large weights lose nothing: of v_0 = r, v_i = θ_i − r.
 */
export class Gram {
  constructor(
    readonly k: number,
    /** (0,0), (0,1) … (0,k−1), (1,1) … */
    private readonly products: Float64Array,
  ) {}

  /** Over several groups together. */
  static sum(k: number, grams: readonly Gram[]): Gram {
    const total = new Float64Array((k * (k + 1)) / 2);
    for (const { products } of grams)
      products.forEach((p, i) => {
        total[i] = (total[i] as number) + p;
      });
    return new Gram(k, total);
  }

  /** ⟨v_i, v_j⟩ */
  at(i: number, j: number): number {
    const [a, b] = i <= j ? [i, j] : [j, i];
    return this.products[a * this.k - (a * (a - 1)) / 2 + b - a] as number;
  }

  /** ⟨θ_i, θ_j⟩ of the weights themselves. */
  weights(i: number, j: number): number {
    const rest = (n: number) => (n === 0 ? 0 : this.at(0, n));
    const both = i === 0 || j === 0 ? 0 : this.at(i, j);
    return this.at(0, 0) + rest(i) + rest(j) + both;
  }

  /** ‖θ_i − θ_j‖ */
  distance(i: number, j: number): number {
    if (i === j) return 0;
    if (i === 0 || j === 0) return Math.sqrt(this.at(i || j, i || j));
    return Math.sqrt(Math.max(0, this.at(i, i) + this.at(j, j) - 2 * this.at(i, j)));
  }
}

export interface GramGroup {
  name: string;
  /** Elements of its tensors. */
  parameters: number;
  gram: Gram;
}

export interface GramOptions extends RunOptions {
  /** The group of a tensor, by its name; all are one group by default. */
  groupOf?: (name: string) => string;
  /** Most elements of a tensor that are looked at, from its start; all by default. */
  elements?: number;
  phase?: string;
  /** For tests: the kernel's variant. */
  variant?: string;
}

/** Doubles that are held for each pair of checkpoints and each group: sum and compensation. */
const HELD = 2 * 8;

/**
 * All inner products in one streamed pass over the files, in bounded memory: float64, within 72 · 2^-53 of the sum of
 * the products' magnitudes whatever the number of elements, and the same whatever the threads and the memory.
 * @param checkpoints the first is the reference
 * @param tensors floating-point tensors that all of them have
 * @throws StockpotError NONFINITE, OVERFLOW, USAGE where the sums do not fit the memory; ABORTED, IO, CHANGED
 */
export async function gramOf(
  checkpoints: readonly Checkpoint[],
  tensors: readonly Matched[],
  options: GramOptions = {},
): Promise<{ groups: GramGroup[]; bytesRead: number }> {
  const k = checkpoints.length;
  const names = tensors.map(({ name }) => options.groupOf?.(name) ?? '');
  const groups = [...new Set(names)];
  const pairs = (k * (k + 1)) / 2;
  const memory = resolveMemory(options.memory);
  const needed = groups.length * pairs * HELD;
  if (needed > memory) {
    throw new StockpotError(
      'USAGE',
      `the products of ${k} checkpoints in ${groups.length} groups take ${needed} bytes, and ${memory} may be held`,
      { remedy: 'Raise --memory, or leave out --by layer.' },
    );
  }
  const most = options.elements ?? Number.POSITIVE_INFINITY;
  const first = tensors.map((t) => t.entries[0] as TensorEntry);
  const elements = first.map((e) => Math.min(most, elementCount(e.shape)));
  const result = await runGram(checkpoints, tensors, elements, options, {
    groups: groups.length,
    group: Float64Array.from(names, (n) => groups.indexOf(n)),
    memory,
  });
  refuseNonfinite(result, tensors, checkpoints);
  return {
    bytesRead: result.bytesRead,
    groups: groups.map((name, g) => ({
      name,
      parameters: elements.reduce((sum, n, i) => sum + (names[i] === name ? n : 0), 0),
      gram: new Gram(k, result.products.slice(g * pairs, (g + 1) * pairs)),
    })),
  };
}

async function runGram(
  checkpoints: readonly Checkpoint[],
  tensors: readonly Matched[],
  elements: readonly number[],
  options: GramOptions,
  table: { groups: number; group: Float64Array; memory: number },
): Promise<GramResult> {
  const sources = await OpenSources.open(checkpoints);
  try {
    const places = tensors.flatMap((t, i) =>
      t.entries.map((e, c) => [c, part(e as TensorEntry, elements[i] as number)] as const),
    );
    const bytes = places.reduce((sum, [, e]) => sum + tensorBytes(e), 0);
    const result = await runJob(
      () =>
        native().gram({
          ...sources.table(places),
          ...table,
          k: checkpoints.length,
          threads: resolveThreads(options.threads),
          variant: options.variant ?? '',
          elements: Float64Array.from(elements),
        }),
      { file: (i) => sources.path(i), tensor: (i) => tensors[i]?.name },
      options,
      options.phase ?? 'angles',
      bytes,
    );
    await sources.checkUnchanged();
    return result;
  } finally {
    await sources.close();
  }
}

/** The first elements of a tensor, as a tensor. A view is taken whole: `sampled` chooses none. */
const part = (e: TensorEntry, elements: number): TensorEntry =>
  e.strides || elementCount(e.shape) === elements ? e : { ...e, shape: [elements] };

/** Tensors that are compared: floating-point ones that all checkpoints store. */
export const comparable = (tensors: readonly Matched[]): Matched[] =>
  tensors.filter(({ entries }) => entries.every((e) => e !== null && isFloat(e.dtype)));

function refuseNonfinite(
  { nonfinite, products }: GramResult,
  tensors: readonly Matched[],
  checkpoints: readonly Checkpoint[],
): void {
  const details = nonfinite.map(({ segment, input, count, first }) => {
    const t = tensors[segment] as Matched;
    const file = checkpoints[input]?.files[t.entries[input]?.file ?? 0]?.path;
    const values = `${count} NaN or infinite value${count === 1 ? '' : 's'}`;
    return { file, tensor: t.name, message: `holds ${values}, the first at index ${first}` };
  });
  const [worst] = details;
  if (worst) {
    const more = details.length > 1 ? ` (and ${details.length - 1} more)` : '';
    throw new StockpotError(
      'NONFINITE',
      `${worst.file}: tensor "${worst.tensor}" ${worst.message}${more}`,
      {
        ...worst,
        details,
        remedy: "Leave that ingredient out, or the tensor with --exclude 'GLOB'.",
      },
    );
  }
  if (!products.every(Number.isFinite)) {
    throw new StockpotError('OVERFLOW', "the weights' squares are too large for float64", {
      remedy: "Leave the tensors that hold such values out with --exclude 'GLOB'.",
    });
  }
}
