import { lbfgs } from '../learn/lbfgs.js';

export interface LogisticOptions {
  /** λ of λ/2·‖W‖² beside the mean loss; biases are not held down. scikit-learn's C is 1/(λ n). */
  l2: number;
  classes: number;
  iterations?: number;
  onIteration?: (iteration: number, value: number) => void;
}

export interface LogisticFit {
  /** [classes, width], row-major. */
  weight: Float64Array;
  bias: Float64Array;
  /** Mean cross-entropy, without the penalty. */
  loss: number;
  iterations: number;
  converged: boolean;
}

/**
 * Multinomial logistic regression on features [n, width]: softmax(W x + b), all from 0, in float64, by L-BFGS.
 * Deterministic.
 */
export function logisticRegression(
  features: Float32Array,
  labels: Int32Array,
  { l2, classes, iterations, onIteration }: LogisticOptions,
): LogisticFit {
  const n = labels.length;
  const width = features.length / n;
  const biasAt = classes * width;
  let loss = 0;
  const logits = new Float64Array(classes);
  const fit = lbfgs(
    (x, g) => {
      loss = 0;
      g.fill(0);
      for (let r = 0; r < n; r++) {
        const row = features.subarray(r * width, (r + 1) * width);
        loss += rowLoss(x, row, biasAt, labels[r] as number, logits) / n;
        for (let c = 0; c < classes; c++) {
          const d = (logits[c] as number) / n;
          const at = c * width;
          for (let j = 0; j < width; j++)
            g[at + j] = (g[at + j] as number) + d * (row[j] as number);
          g[biasAt + c] = (g[biasAt + c] as number) + d;
        }
      }
      let penalty = 0;
      for (let i = 0; i < biasAt; i++) {
        const w = x[i] as number;
        penalty += w * w;
        g[i] = (g[i] as number) + l2 * w;
      }
      return loss + (l2 / 2) * penalty;
    },
    new Float64Array(biasAt + classes),
    { iterations, onIteration },
  );
  return {
    weight: fit.x.slice(0, biasAt),
    bias: fit.x.slice(biasAt),
    loss,
    iterations: fit.iterations,
    converged: fit.converged,
  };
}

/** Cross-entropy of one example; `out` gets its derivative by the logits: softmax less the label's 1. */
function rowLoss(
  x: Float64Array,
  row: Float32Array,
  biasAt: number,
  label: number,
  out: Float64Array,
): number {
  const width = row.length;
  let top = Number.NEGATIVE_INFINITY;
  for (let c = 0; c < out.length; c++) {
    let z = x[biasAt + c] as number;
    for (let j = 0; j < width; j++) z += (x[c * width + j] as number) * (row[j] as number);
    out[c] = z;
    top = Math.max(top, z);
  }
  const own = out[label] as number;
  let sum = 0;
  for (let c = 0; c < out.length; c++) {
    out[c] = Math.exp((out[c] as number) - top);
    sum += out[c] as number;
  }
  for (let c = 0; c < out.length; c++) out[c] = (out[c] as number) / sum - (c === label ? 1 : 0);
  return top + Math.log(sum) - own;
}
