/** A mix of the ingredients that a learned recipe tries. */
export interface Mix {
  /** One row of k coefficients a group, in the order of `MixObjective.groups`. */
  alpha: readonly Float64Array[];
  /** The logits are multiplied by it. */
  beta: number;
}

/** The loss of a mix and its derivatives. */
export interface MixGradient {
  /** Mean cross-entropy of β·logits, in nats. */
  loss: number;
  /** d loss / d alpha, rows as the mix has them; buffers count as constants. */
  alpha: Float64Array[];
  /** d loss / d β. */
  beta: number;
}

/**
 * What a learned recipe descends on. Natively the derivatives come from one backward pass and one pass over the
 * ingredients; an evaluator without a backward pass gives them by differences.
 */
export interface MixObjective {
  /** Names of the groups; one, '', by model. */
  readonly groups: readonly string[];
  /** Number of labelled examples. */
  readonly count: number;
  /** @param examples positions of the minibatch's examples */
  gradient(mix: Mix, examples: Int32Array, options: { signal?: AbortSignal }): Promise<MixGradient>;
}
