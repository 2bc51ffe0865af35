import { createHash } from 'node:crypto';
import type { Checkpoint } from '../checkpoint/types.js';
import { centralDifferences, planDifferences } from '../learn/central_differences.js';
import { NativeObjective, planObjective } from '../learn/native_objective.js';
import type { ObjectiveOptions, OpenObjective } from '../learn/objective.js';
import type { LearningPlan } from '../learn/plan.js';
import { graphsOf } from '../models/graph.js';
import { native } from '../native.js';
import { inOrder } from './ahead.js';
import { onDevice } from './engine.js';
import type { Candidate, EvaluateOptions, GradientEvaluator, LogitsBatch } from './evaluator.js';
import { type EvaluationOptions, Session } from './session.js';

/** Examples between two looks at whether a candidate is rejected. */
const STEP = 32;

/**
 * Evaluates soups on the processor or a GPU: a candidate is mixed straight into the network's memory, and examples are run in the
 * order asked for.
 */
export class NativeEvaluator implements GradientEvaluator {
  constructor(private readonly session: Session) {}

  get id(): string {
    const { data, graph } = this.session;
    if (graph)
      return createHash('sha256').update(`${graph.identity} ${data.contentHash}`).digest('hex');
    const { definition, engine } = this.session;
    const graphs = graphsOf(definition);
    // The last bits of logits depend on the instruction set, or the device's library.
    const { device } = engine;
    const { variant } = onDevice(() =>
      native().planNetwork(definition.graph, 1, 1, undefined, device),
    );
    return createHash('sha256')
      .update(`native ${variant} ${JSON.stringify(graphs)} ${data.contentHash}`)
      .digest('hex');
  }

  /**
   * The loss of mixes and its derivatives: by a network of its own with a backward pass, or, where a graph is run, by
   * differences.
   */
  objective(options: ObjectiveOptions): Promise<OpenObjective> {
    const { checkpoints, matched, data, feed, graph, engine } = this.session;
    if (graph) return centralDifferences(this, checkpoints, matched, options);
    const network = this.session.definition;
    return NativeObjective.open({ checkpoints, matched, network, data, feed, engine }, options);
  }

  planObjective(options: ObjectiveOptions): LearningPlan {
    const { checkpoints, matched, data, graph, engine } = this.session;
    if (graph) return planDifferences(matched, options);
    const network = this.session.definition;
    return planObjective({ checkpoints, matched, network, data, engine }, options);
  }

  /** Closes the data. */
  async close(): Promise<void> {
    await this.session.close();
  }

  get labels(): Int32Array {
    return this.session.data.labels;
  }

  get numClasses(): number {
    return this.session.numClasses;
  }

  expect(ingredients: readonly number[]): readonly number[] {
    return this.session.expect(ingredients);
  }

  async *batches(
    soup: Candidate,
    order: Int32Array,
    { signal }: EvaluateOptions,
  ): AsyncIterable<LogitsBatch> {
    await this.session.loadCandidate(soup, signal);
    const { network, ahead } = this.session;
    const step = Math.min(STEP, network.batch);
    const parts = Array.from({ length: Math.ceil(order.length / step) }, (_, i) =>
      order.subarray(i * step, (i + 1) * step),
    );
    yield* inOrder(parts, ahead, async (examples) => ({
      examples,
      logits: await this.session.logits(examples, { signal }),
    }));
  }
}

/**
 * An evaluator for recipes over these ingredients: opens them and the data, and plans the network once. Close it when the
 * recipe is over.
 * @throws StockpotError
 */
export async function nativeEvaluator(
  ingredients: readonly (string | Checkpoint)[],
  options: EvaluationOptions,
): Promise<NativeEvaluator> {
  return new NativeEvaluator(await Session.open(ingredients, options));
}
