export interface AdamWOptions {
  lr: number;
  weightDecay: number;
  betas?: readonly [number, number];
  epsilon?: number;
}

/** The moments of one array of parameters; plain numbers, so that they can be saved. */
export interface Moments {
  first: number[];
  second: number[];
}

export const noMoments = (n: number): Moments => ({
  first: Array<number>(n).fill(0),
  second: Array<number>(n).fill(0),
});

/**
 * One step of AdamW (Loshchilov & Hutter 2019, algorithm 2) as `torch.optim.AdamW` takes it, in place.
 * @param step number of this step, from 1
 */
export function adamW(
  parameters: Float64Array,
  gradient: ArrayLike<number>,
  moments: Moments,
  step: number,
  { lr, weightDecay, betas: [b1, b2] = [0.9, 0.999], epsilon = 1e-8 }: AdamWOptions,
): void {
  const size = lr / (1 - b1 ** step);
  const root = Math.sqrt(1 - b2 ** step);
  for (let i = 0; i < parameters.length; i++) {
    const g = gradient[i] as number;
    const m = b1 * (moments.first[i] as number) + (1 - b1) * g;
    const v = b2 * (moments.second[i] as number) + (1 - b2) * g * g;
    moments.first[i] = m;
    moments.second[i] = v;
    const decayed = (parameters[i] as number) * (1 - lr * weightDecay);
    parameters[i] = decayed - (size * m) / (Math.sqrt(v) / root + epsilon);
  }
}
