import { createHash } from 'node:crypto';
import type { Candidate, EvaluateOptions, ExampleEvaluator, LogitsBatch } from './evaluator.js';
import type { Session } from './session.js';

/**
 * Evaluates soups on the CPU: a candidate is mixed straight into the network's memory, and examples are run in the
 * order asked for.
 */
export class NativeEvaluator implements ExampleEvaluator {
  readonly id: string;

  constructor(private readonly session: Session) {
    const { data, network } = session;
    this.id = createHash('sha256')
      .update(`native ${network.variant} ${JSON.stringify(network.graphs)} ${data.contentHash}`)
      .digest('hex');
  }

  get labels(): Int32Array {
    return this.session.data.labels;
  }

  get numClasses(): number {
    return this.session.network.numClasses;
  }

  async *batches(
    soup: Candidate,
    order: Int32Array,
    _options: EvaluateOptions,
  ): AsyncIterable<LogitsBatch> {
    await this.session.load(soup.members, soup.weights);
    const step = this.session.network.batch;
    for (let at = 0; at < order.length; at += step) {
      const examples = order.subarray(at, at + step);
      yield { examples, logits: await this.session.logits(examples) };
    }
  }
}
