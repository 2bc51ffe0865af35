/** Sums for the mean cross-entropy of β·logits, and its derivatives. */
export interface LossGradient {
  /** Sum over the rows given. */
  loss: number;
  /** d mean / d logits, as the logits. */
  logits: Float32Array;
  /** Sum over the rows given of d loss / d β. */
  beta: number;
}

/**
 * Cross-entropy of softmax(β·logits) against labels, in float64 and in nats; its gradient by the logits is
 * β·(softmax − onehot), by β the expected logit less the label's.
 * @param logits [labels.length, classes]
 * @param total number of examples of the whole mean, of which these may be a part
 * @param before sums of the parts before: examples are added one by one, however they are cut into parts
 */
export function crossEntropy(
  logits: Float32Array,
  labels: ArrayLike<number>,
  beta: number,
  total: number,
  before = { loss: 0, beta: 0 },
): LossGradient {
  const classes = logits.length / labels.length;
  const gradient = new Float32Array(logits.length);
  const p = new Float64Array(classes);
  let { loss, beta: byBeta } = before;
  for (let r = 0; r < labels.length; r++) {
    const row = logits.subarray(r * classes, (r + 1) * classes);
    const label = labels[r] as number;
    let top = Number.NEGATIVE_INFINITY;
    for (const x of row) top = Math.max(top, beta * x);
    let sum = 0;
    for (let c = 0; c < classes; c++) {
      p[c] = Math.exp(beta * (row[c] as number) - top);
      sum += p[c] as number;
    }
    loss += top + Math.log(sum) - beta * (row[label] as number);
    for (let c = 0; c < classes; c++) {
      const d = (p[c] as number) / sum - (c === label ? 1 : 0);
      gradient[r * classes + c] = (beta * d) / total;
      byBeta += (row[c] as number) * d;
    }
  }
  return { loss, logits: gradient, beta: byBeta };
}
