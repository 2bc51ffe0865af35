import type { Sources } from '../checkpoint/source_table.js';
import type { Checkpoint } from '../checkpoint/types.js';
import type { DataSet } from '../data/types.js';
import type { Allowances } from '../merge/execute.js';
import type { PlannedTensor } from '../merge/plan.js';
import type { RunOptions } from '../progress.js';

/**
 * A network whose weights can be replaced by any mix of the ingredients. Logits of an example do not depend on the rest
 * of its batch, nor on its place in it.
 */
export interface RunnableNetwork {
  readonly numClasses: number;
  /** Most examples at a time. */
  readonly batch: number;
  /**
   * Mixes ingredients into the network's weights, rounded as the soup on disk would be.
   * @param run.sources where a network that is run natively reads them, in place of their files
   */
  load(
    checkpoints: readonly Checkpoint[],
    tensors: readonly PlannedTensor[],
    run?: RunOptions & Allowances & { sources?: Sources },
  ): Promise<void>;
  /** Logits [indices.length, classes] of these examples, in this order. */
  logits(data: DataSet, indices: ArrayLike<number>, run?: RunOptions): Promise<Float32Array>;
  /** Bytes of weights and activations; where they are not known, of weights. */
  readonly bytes: number;
  readonly threads: number;
  /** Frees what it holds. */
  close(): void | Promise<void>;
}
