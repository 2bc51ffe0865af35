import { byteSize, isFloat } from '../checkpoint/dtype.js';
import { throwIfAborted } from '../checkpoint/job.js';
import { elementCount } from '../checkpoint/shape.js';
import type { Checkpoint, TensorEntry } from '../checkpoint/types.js';
import { StockpotError } from '../errors.js';
import { makeCandidate } from '../evaluate/candidate.js';
import {
  askEvaluator,
  type Candidate,
  type Evaluator,
  type ExampleEvaluator,
  hasExamples,
  readResult,
  type WholeEvaluator,
  wholeEvaluator,
} from '../evaluate/evaluator.js';
import type { Metrics } from '../evaluate/metrics.js';
import { type Grouping, type GroupWeights, groupTensors, meanWeights } from '../merge/groups.js';
import type { Matched } from '../merge/match.js';
import type { RunOptions } from '../progress.js';
import type { SoupOptions } from '../soup/soup.js';
import { resolveMemory } from '../threads.js';
import { crossEntropy } from './loss.js';
import type { Mix, MixGradient, OpenObjective } from './objective.js';
import type { Parametrisation } from './parametrisation.js';
import type { LearningPlan } from './plan.js';

/**
 * Step along θ_i − θ, in units of that difference. An evaluation in float32 has an error of about δ = 1e-6 of the loss, and
 * the loss changes over a step of order 1, so that the third derivative is of order 1: ε = (3δ)^⅓ ≈ 0.014 has the smallest
 * sum of the rounding error δ/ε and the truncation error ε²/6 (Nocedal & Wright 2006, section 8.1). Rounded down, since
 * losses of deep networks bend more.
 */
const STEP = 0.01;
/** Step along θ itself, relative: each of some twenty layers scales, and the third derivative grows like their cube. */
const SCALE_STEP = 5e-4;
/** Step in β of evaluators that give no logits. */
const BETA_STEP = 1e-3;

export interface DifferenceOptions
  extends Omit<SoupOptions, 'weights' | 'normalize'>,
    Pick<RunOptions, 'signal' | 'threads' | 'memory'> {
  grouping: Grouping;
  /** Examples of a step. */
  examples?: number;
  /**
   * `softmax`: rows sum to 1, and only differences of a row's derivatives matter: 2(k − 1) evaluations a group.
   * `free` (the default): the derivative along θ too: 2k.
   */
  parametrisation?: Parametrisation;
  /** In place of the step above. */
  step?: number;
}

/**
 * The derivatives of an evaluator that gives none: central differences along θ_i − θ_soup, for each group of tensors.
 *
 * With D_i = ⟨dL/dθ, θ_i − θ⟩ and c = ⟨dL/dθ, θ⟩, d loss / d alpha_i is D_i + c. Where the row sums to 1, θ is its mean:
 * Σ alpha_i D_i = 0, and one direction of the k follows from the others; the one with the largest alpha is left out, which
 * is divided by. c is the same for all i, so that it has no influence where a softmax makes the row; it is then taken to
 * be −0, and the rows have Σ alpha_i (d loss / d alpha_i) = 0. In all 2(k − 1) + 1 evaluations a step and group, against
 * 2k + 1. Otherwise c is the difference along θ, and Σ alpha_i D_i = (1 − Σ alpha_i) c gives the direction left out.
 *
 * Buffers (batch-norm statistics) are mixed but count as constants: they stay while the weights move. What is moved is not
 * rounded to a narrower type than float32: the steps would vanish in it.
 *
 * An evaluator of whole soups is asked on all its data, whatever examples are wanted: `count` is 1.
 */
export async function centralDifferences(
  evaluator: Evaluator,
  checkpoints: readonly Checkpoint[],
  matched: readonly Matched[],
  options: DifferenceOptions,
): Promise<OpenObjective> {
  const single = await groupTensors(checkpoints, matched, 'tensor');
  return new Differences(evaluator, checkpoints, matched, single, options);
}

/** What a step costs. */
export function planDifferences(
  matched: readonly Matched[],
  { grouping, parametrisation, memory, examples = 1 }: DifferenceOptions,
): LearningPlan {
  const bytes = (entries: Matched['entries']) =>
    entries.reduce((n, e) => n + (e ? elementCount(e.shape) * byteSize(e.dtype) : 0), 0);
  const k = matched[0]?.entries.length ?? 1;
  const moving = new Set(matched.filter(isWeight).map((m) => grouping.indexOf(m.name))).size;
  const evaluations = 1 + 2 * moving * (parametrisation === 'softmax' ? k - 1 : k);
  const ingredientBytes = matched.reduce((n, m) => n + bytes(m.entries), 0);
  const network = matched.reduce((n, m) => n + bytes(m.entries.slice(0, 1)), 0);
  const buffers = resolveMemory(memory);
  return {
    batch: examples,
    segments: 1,
    floats: 0,
    network,
    residence: 'disk',
    ingredients: 0,
    blocks: 0,
    buffers,
    memory: network + buffers,
    ingredientBytes,
    readsPerStep: evaluations * ingredientBytes,
    evaluations,
  };
}

/** Loss of one soup, and what it says about β. */
interface Measured {
  loss: number;
  beta?: number;
}

const BUFFER = /(^|\.)(running_mean|running_var|num_batches_tracked)$/;

const isWeight = (m: Matched): boolean =>
  isFloat((m.entries[0] as TensorEntry).dtype) && !BUFFER.test(m.name);

class Differences implements OpenObjective {
  readonly groups: readonly string[];
  readonly count: number;
  readonly labels: Int32Array;
  readonly metrics: OpenObjective['metrics'];
  private readonly examples: ExampleEvaluator | undefined;
  private readonly whole: WholeEvaluator | undefined;
  private readonly grouping: Grouping;
  /** Groups that hold a weight; the others have no derivative. */
  private readonly moving: ReadonlySet<number>;
  /** Tensors that are mixed, but do not move with the weights. */
  private readonly hasBuffers: boolean;

  constructor(
    evaluator: Evaluator,
    private readonly checkpoints: readonly Checkpoint[],
    private readonly matched: readonly Matched[],
    private readonly single: Grouping,
    private readonly options: DifferenceOptions,
  ) {
    const { grouping } = options;
    if (hasExamples(evaluator)) this.examples = evaluator;
    else this.whole = wholeEvaluator(evaluator);
    this.grouping = grouping;
    this.groups = grouping.names;
    this.labels = (this.examples ?? this.whole)?.labels ?? new Int32Array(1);
    this.count = this.examples ? this.labels.length : 1;
    this.moving = new Set(matched.filter(isWeight).map((m) => grouping.indexOf(m.name)));
    this.hasBuffers = matched.some((m) => BUFFER.test(m.name));
    if (this.whole) this.metrics = (mix, { signal }) => this.wholeMetrics(mix, signal);
  }

  async close(): Promise<void> {}

  async logits(
    mix: Mix,
    examples: Int32Array,
    { signal }: { signal?: AbortSignal },
  ): Promise<Float32Array> {
    if (!this.examples) throw new Error('an evaluator of whole soups gives metrics, not logits');
    const parts: Float32Array[] = [];
    const soup = this.candidate(mix, undefined);
    for await (const b of this.examples.batches(soup, examples, { beta: mix.beta, signal })) {
      throwIfAborted(signal);
      parts.push(b.logits);
    }
    return Float32Array.from(parts.flatMap((p) => [...p]));
  }

  private async wholeMetrics(mix: Mix, signal?: AbortSignal): Promise<Partial<Metrics>> {
    const whole = this.whole as WholeEvaluator;
    const soup = this.candidate(mix, undefined);
    const result = await askEvaluator(whole, soup, { beta: mix.beta, signal });
    return readResult('loss', result, whole.labels, mix.beta).metrics;
  }

  async gradient(
    mix: Mix,
    examples: Int32Array,
    { signal }: { signal?: AbortSignal },
  ): Promise<MixGradient> {
    const measure = async (m: Mix, moved?: Moved) => {
      throwIfAborted(signal);
      const found = await this.measure(m, moved, examples, signal);
      throwIfAborted(signal);
      return found;
    };
    const centre = await measure(mix);
    const alpha: Float64Array[] = [];
    for (const [g, row] of mix.alpha.entries()) {
      const along = async (step: number, move: (s: number) => Float64Array) => {
        const [up, down] = [
          await measure(mix, { group: g, row: move(step) }),
          await measure(mix, { group: g, row: move(-step) }),
        ];
        return (up.loss - down.loss) / (2 * step);
      };
      alpha.push(this.moving.has(g) ? await this.rowGradient(row, along) : row.map(() => 0));
    }
    return { loss: centre.loss, alpha, beta: centre.beta ?? (await betaDifference(mix, measure)) };
  }

  private async rowGradient(
    row: Float64Array,
    along: (step: number, move: (s: number) => Float64Array) => Promise<number>,
  ): Promise<Float64Array> {
    const free = this.options.parametrisation !== 'softmax';
    const c = free ? await along(SCALE_STEP, (s) => row.map((a) => a * (1 + s))) : 0;
    const sum = row.reduce((a, b) => a + b, 0);
    const left = row.reduce(
      (best, a, i) => (Math.abs(a) > Math.abs(row[best] as number) ? i : best),
      0,
    );
    const largest = row[left] as number;
    // Free rows may all be near 0: then nothing follows from anything.
    const follows = Math.abs(largest) > 1 / (4 * row.length) && (free || Math.abs(sum - 1) < 1e-9);
    const d = new Float64Array(row.length);
    let weighted = 0;
    for (const i of row.keys()) {
      if (i === left && follows) continue;
      d[i] = await along(this.options.step ?? STEP, (s) =>
        row.map((a, j) => a * (1 - s) + (i === j ? s : 0)),
      );
      weighted += (row[i] as number) * (d[i] as number);
    }
    if (follows) d[left] = ((1 - sum) * c - weighted) / largest;
    return d.map((x) => x + c);
  }

  private candidate(mix: Mix, moved: Moved | undefined): Candidate {
    const dtype = moved ? ('f32' as const) : this.options.dtype;
    const weights = this.weightsOf(mix, moved);
    const soup = makeCandidate('learned', this.checkpoints, weights, { ...this.options, dtype });
    if (!('by' in weights)) return soup;
    // For functions that look at weights only.
    return { ...soup, weights: meanWeights(this.single, weights.alpha, this.checkpoints.length) };
  }

  private async measure(
    mix: Mix,
    moved: Moved | undefined,
    examples: Int32Array,
    signal: AbortSignal | undefined,
  ): Promise<Measured> {
    const soup = this.candidate(mix, moved);
    if (this.examples) return fromExamples(this.examples, soup, examples, mix.beta, signal);
    const whole = this.whole as WholeEvaluator;
    const result = await askEvaluator(whole, soup, { beta: mix.beta, signal });
    const loss = readResult('loss', result, whole.labels, mix.beta).value;
    const logits = typeof result === 'object' ? result.logits : undefined;
    if (!logits || !whole.labels) return { loss };
    const flat = logits instanceof Float32Array ? logits : Float32Array.from(logits.flat());
    const n = whole.labels.length;
    return { loss, beta: crossEntropy(flat, whole.labels, mix.beta, n).beta / n };
  }

  /** Weights by tensor, so that buffers may have others than the rest of their group. */
  private weightsOf(mix: Mix, moved: Moved | undefined): GroupWeights | number[] {
    if (this.grouping.by === 'model' && !(moved && this.hasBuffers))
      return [...(moved?.row ?? (mix.alpha[0] as Float64Array))];
    const alpha: Record<string, number[]> = {};
    for (const m of this.matched) {
      const g = this.grouping.indexOf(m.name);
      if (g < 0) continue;
      const row = moved?.group === g && isWeight(m) ? moved.row : (mix.alpha[g] as Float64Array);
      alpha[this.single.names[this.single.indexOf(m.name)] as string] ??= [...row];
    }
    return { by: 'tensor', alpha };
  }
}

/** A row in place of a group's own. */
interface Moved {
  group: number;
  row: Float64Array;
}

async function betaDifference(mix: Mix, measure: (mix: Mix) => Promise<Measured>): Promise<number> {
  const up = await measure({ ...mix, beta: mix.beta + BETA_STEP });
  const down = await measure({ ...mix, beta: mix.beta - BETA_STEP });
  return (up.loss - down.loss) / (2 * BETA_STEP);
}

async function fromExamples(
  evaluator: ExampleEvaluator,
  soup: Candidate,
  examples: Int32Array,
  beta: number,
  signal: AbortSignal | undefined,
): Promise<Measured> {
  let total = { loss: 0, beta: 0 };
  let seen = 0;
  for await (const b of evaluator.batches(soup, examples, { beta, signal })) {
    const labels = Array.from(b.examples, (i) => evaluator.labels[i] as number);
    total = crossEntropy(b.logits, labels, beta, examples.length, total);
    seen += b.examples.length;
  }
  if (seen !== examples.length)
    throw new StockpotError('USAGE', `the evaluator gave ${seen} of ${examples.length} examples`);
  return { loss: total.loss / seen, beta: total.beta / seen };
}
