/** Mean cross-entropy of β·logits [n, classes], in nats; float64. */
export function crossEntropy(logits: ArrayLike<number>, labels: Int32Array, beta: number): number {
  const classes = logits.length / labels.length;
  let sum = 0;
  for (let i = 0; i < labels.length; i++) {
    const from = i * classes;
    let top = Number.NEGATIVE_INFINITY;
    for (let c = 0; c < classes; c++) top = Math.max(top, beta * (logits[from + c] as number));
    let total = 0;
    for (let c = 0; c < classes; c++) total += Math.exp(beta * (logits[from + c] as number) - top);
    sum += top + Math.log(total) - beta * (logits[from + (labels[i] as number)] as number);
  }
  return sum / labels.length;
}

/** (1 − α)·a + α·b, in float64. */
export const between = (a: ArrayLike<number>, b: ArrayLike<number>, alpha: number): Float64Array =>
  Float64Array.from(
    { length: a.length },
    (_, i) => (1 - alpha) * (a[i] as number) + alpha * (b[i] as number),
  );

/**
 * E_x Var_{Y ~ softmax(β·f(x))}[ b_Y(x) − a_Y(x) ]: how much two models' difference varies over the classes that a third
 * one, of logits f, thinks likely.
 * @param f, a, b logits [n, classes]
 */
export function varianceOfDifference(
  f: ArrayLike<number>,
  a: ArrayLike<number>,
  b: ArrayLike<number>,
  n: number,
  beta: number,
): number {
  const classes = f.length / n;
  let sum = 0;
  for (let i = 0; i < n; i++) {
    const from = i * classes;
    let top = Number.NEGATIVE_INFINITY;
    for (let c = 0; c < classes; c++) top = Math.max(top, beta * (f[from + c] as number));
    let [total, first] = [0, 0];
    for (let c = 0; c < classes; c++) {
      const p = Math.exp(beta * (f[from + c] as number) - top);
      total += p;
      first += p * ((b[from + c] as number) - (a[from + c] as number));
    }
    const mean = first / total;
    let second = 0;
    for (let c = 0; c < classes; c++) {
      const p = Math.exp(beta * (f[from + c] as number) - top);
      second += p * ((b[from + c] as number) - (a[from + c] as number) - mean) ** 2;
    }
    sum += second / total;
  }
  return sum / n;
}
