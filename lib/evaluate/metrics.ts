/** What a recipe may optimise. */
export type Metric = 'accuracy' | 'loss' | 'f1' | 'matthews';

export const METRICS: readonly Metric[] = ['accuracy', 'loss', 'f1', 'matthews'];

/** All that is said about a model on a data set. */
export interface Metrics {
  /** Number of examples. */
  n: number;
  /** Share of examples whose largest logit is the label's; of equal ones the lowest class counts. */
  accuracy: number;
  /** Mean cross-entropy, in nats. */
  loss: number;
  /** Expected calibration error: 15 equal bins of top-1 confidence, right-closed (Guo et al. 2017). */
  ece: number;
  /** Class 1's F1 where there are two classes, else the mean over the classes that occur as label or prediction. */
  f1: number;
  /** Matthews' correlation coefficient, for any number of classes (Gorodkin 2004). */
  matthews: number;
}

/** What all metrics are made of, one number an example. */
export interface Scores {
  /** The class of the largest logit; −1 where a logit is not finite: wrong, whatever the label is. */
  prediction: Int32Array;
  /** Cross-entropy. */
  loss: Float64Array;
  /** How far the largest logit is above the next one. */
  margin: Float64Array;
  /** Largest probability. */
  confidence: Float64Array;
}

export const emptyScores = (n: number): Scores => ({
  prediction: new Int32Array(n).fill(-1),
  loss: new Float64Array(n).fill(Number.NaN),
  margin: new Float64Array(n),
  confidence: new Float64Array(n),
});

/**
 * Scores examples from logits, in float64.
 * @param logits rows of as many columns as there are classes
 * @param examples row r is of example `examples[r]`
 * @param beta the logits are multiplied by it before the softmax
 */
export function scoreInto(
  scores: Scores,
  logits: Float32Array,
  examples: ArrayLike<number>,
  labels: Int32Array,
  beta = 1,
): void {
  const classes = logits.length / examples.length;
  for (let r = 0; r < examples.length; r++) {
    const example = examples[r] as number;
    scoreRow(scores, example, logits, r * classes, classes, labels[example] as number, beta);
  }
}

function scoreRow(
  scores: Scores,
  example: number,
  logits: Float32Array,
  from: number,
  classes: number,
  label: number,
  beta: number,
): void {
  let first = Number.NEGATIVE_INFINITY;
  let second = Number.NEGATIVE_INFINITY;
  let best = 0;
  let finite = true;
  for (let c = 0; c < classes; c++) {
    const x = logits[from + c] as number;
    if (!Number.isFinite(x)) finite = false;
    if (x > first) {
      second = first;
      first = x;
      best = c;
    } else if (x > second) second = x;
  }
  // A negative temperature would turn the order round.
  let top = Number.NEGATIVE_INFINITY;
  for (let c = 0; c < classes; c++) top = Math.max(top, beta * (logits[from + c] as number));
  let sum = 0;
  for (let c = 0; c < classes; c++) sum += Math.exp(beta * (logits[from + c] as number) - top);
  scores.prediction[example] = finite ? best : -1;
  scores.loss[example] = top - beta * (logits[from + label] as number) + Math.log(sum);
  scores.margin[example] = first - second;
  scores.confidence[example] = 1 / sum;
}

/** Scores of examples 0 … n − 1. */
export function scoresOf(logits: Float32Array, labels: Int32Array, beta = 1): Scores {
  const scores = emptyScores(labels.length);
  scoreInto(scores, logits, indices(labels.length), labels, beta);
  return scores;
}

const indices = (n: number): Int32Array => Int32Array.from({ length: n }, (_, i) => i);

/** All metrics from the scores of all examples; sums are taken in the order of the examples. */
export function metricsOf(scores: Scores, labels: Int32Array, classes: number): Metrics {
  const { prediction, loss } = scores;
  return {
    n: labels.length,
    accuracy: accuracyOf(prediction, labels),
    loss: meanOf(loss),
    ece: calibrationError(scores, labels),
    f1: f1Of(prediction, labels, classes),
    matthews: matthewsOf(prediction, labels, classes),
  };
}

/** All metrics from logits [n, classes]. */
export const allMetrics = (logits: Float32Array, labels: Int32Array, beta = 1): Metrics =>
  metricsOf(scoresOf(logits, labels, beta), labels, logits.length / labels.length);

/** Accuracy from logits [n, classes]. */
export const accuracy = (logits: Float32Array, labels: Int32Array): number =>
  accuracyOf(scoresOf(logits, labels).prediction, labels);

export function accuracyOf(prediction: Int32Array, labels: Int32Array): number {
  let right = 0;
  for (let i = 0; i < labels.length; i++) if (prediction[i] === labels[i]) right++;
  return right / labels.length;
}

export function meanOf(x: Float64Array): number {
  let sum = 0;
  for (const v of x) sum += v;
  return sum / x.length;
}

/** Bins of confidence: 15 of equal width, right-closed. */
export const CALIBRATION_BINS = 15;

/** The bin that a top-1 confidence is in. */
export function binOf(confidence: number): number {
  const last = CALIBRATION_BINS - 1;
  const bin = Math.min(last, Math.max(0, Math.ceil(confidence * CALIBRATION_BINS) - 1));
  // The product is rounded: the edges themselves decide.
  if (bin > 0 && confidence <= bin / CALIBRATION_BINS) return bin - 1;
  if (bin < last && confidence > (bin + 1) / CALIBRATION_BINS) return bin + 1;
  return bin;
}

function calibrationError({ prediction, confidence }: Scores, labels: Int32Array): number {
  const right = new Float64Array(CALIBRATION_BINS);
  const sum = new Float64Array(CALIBRATION_BINS);
  for (let i = 0; i < labels.length; i++) {
    const c = confidence[i] as number;
    if (Number.isNaN(c)) return Number.NaN;
    const bin = binOf(c);
    sum[bin] = (sum[bin] as number) + c;
    if (prediction[i] === labels[i]) right[bin] = (right[bin] as number) + 1;
  }
  let error = 0;
  for (let b = 0; b < CALIBRATION_BINS; b++)
    error += Math.abs((right[b] as number) - (sum[b] as number));
  return error / labels.length;
}

/** How often each class is a label, a prediction, and both at once. */
function countClasses(prediction: Int32Array, labels: Int32Array, classes: number) {
  const labelled = new Float64Array(classes);
  const predicted = new Float64Array(classes);
  const both = new Float64Array(classes);
  for (let i = 0; i < labels.length; i++) {
    const l = labels[i] as number;
    const p = prediction[i] as number;
    labelled[l] = (labelled[l] as number) + 1;
    if (p >= 0) predicted[p] = (predicted[p] as number) + 1;
    if (p === l) both[l] = (both[l] as number) + 1;
  }
  return { labelled, predicted, both };
}

/** As scikit-learn's f1_score: `binary` for two classes, else `macro`; 0 where there is nothing to divide by. */
function f1Of(prediction: Int32Array, labels: Int32Array, classes: number): number {
  const { labelled, predicted, both } = countClasses(prediction, labels, classes);
  const ofClass = (c: number): number => {
    const all = (labelled[c] as number) + (predicted[c] as number);
    return all === 0 ? 0 : (2 * (both[c] as number)) / all;
  };
  if (classes === 2) return ofClass(1);
  let sum = 0;
  let occurring = 0;
  for (let c = 0; c < classes; c++) {
    if ((labelled[c] as number) + (predicted[c] as number) === 0) continue;
    occurring++;
    sum += ofClass(c);
  }
  return sum / occurring;
}

/** As scikit-learn's matthews_corrcoef; an undefined prediction counts as a class of its own. */
function matthewsOf(prediction: Int32Array, labels: Int32Array, classes: number): number {
  const { labelled, predicted, both } = countClasses(prediction, labels, classes);
  const n = labels.length;
  let right = 0;
  let undefinedOnes = n;
  let together = 0;
  let labelSquares = 0;
  let predictedSquares = 0;
  for (let c = 0; c < classes; c++) {
    const l = labelled[c] as number;
    const p = predicted[c] as number;
    right += both[c] as number;
    undefinedOnes -= p;
    together += l * p;
    labelSquares += l * l;
    predictedSquares += p * p;
  }
  predictedSquares += undefinedOnes * undefinedOnes;
  const denominator = Math.sqrt(n * n - predictedSquares) * Math.sqrt(n * n - labelSquares);
  return denominator === 0 ? 0 : (right * n - together) / denominator;
}
