import { StockpotError } from '../../errors.js';
import { type AdamWOptions, adamW, type Moments, noMoments } from '../../learn/adamw.js';
import { Minibatches } from '../../learn/minibatches.js';
import type { MixObjective } from '../../learn/objective.js';
import { byRaw, coefficients, type Parametrisation, startOf } from '../../learn/parametrisation.js';

/** Everything that the next step depends on; plain numbers, so that it can be saved and gone on with. */
export interface DescentState {
  /** Steps that were taken. */
  step: number;
  /** Raw weights by group, in the order of the groups. */
  raw: number[][];
  beta: number;
  moments: { raw: Moments[]; beta: Moments };
  /** Loss of each step's minibatch, before its update. */
  loss: number[];
  /** β and the coefficients before each step's update. */
  path: { beta: number; alpha: number[][] }[];
}

export interface DescentOptions extends AdamWOptions {
  parametrisation: Parametrisation;
  /** Number of steps in all. */
  steps: number;
  /** Examples of a step. */
  batch: number;
  seed: number;
  /** Learn β too. */
  temperature: boolean;
  signal?: AbortSignal;
  /** Told after each step; it may save the state, which is the descent's own and changes with the next step. */
  onStep?: (state: DescentState) => Promise<void> | void;
}

export const startState = (groups: number, k: number, how: Parametrisation): DescentState => ({
  step: 0,
  raw: Array.from({ length: groups }, () => [...startOf(how, k)]),
  beta: 1,
  moments: { raw: Array.from({ length: groups }, () => noMoments(k)), beta: noMoments(1) },
  loss: [],
  path: [],
});

/** The coefficients of a state, by group. */
export const coefficientsOf = (state: DescentState, how: Parametrisation): Float64Array[] =>
  state.raw.map((raw) => coefficients(how, Float64Array.from(raw)));

export interface Descent {
  state: DescentState;
  /** The state before the last update, whose loss is known to be finite. */
  before: DescentState;
  /** Ended early, because a loss was not finite. */
  diverged: boolean;
}

/** At most so many coefficients are kept of the way; of a longer one, every so many-th step's. */
const PATH_NUMBERS = 100_000;

/**
 * Gradient descent on the mixing coefficients (Wortsman et al. 2022, appendix I): AdamW on the raw weights of every group
 * and on β. Where a loss is not finite, it ends with the state before: the last whose loss was known.
 */
export async function descend(
  objective: MixObjective,
  state: DescentState,
  options: DescentOptions,
): Promise<Descent> {
  const { parametrisation: how, steps, temperature } = options;
  const batches = new Minibatches(objective.count, options.batch, options.seed);
  const numbers = state.raw.length * (state.raw[0]?.length ?? 0);
  const every = Math.ceil((steps * numbers) / PATH_NUMBERS);
  let good = copyOf(state);
  while (state.step < steps) {
    const alpha = coefficientsOf(state, how);
    const updated = new Set<number>();
    const next = (group: number, gradient: Float64Array): Float64Array => {
      updated.add(group);
      const raw = Float64Array.from(state.raw[group] as number[]);
      const byRawWeights = byRaw(how, alpha[group] as Float64Array, gradient);
      adamW(raw, byRawWeights, state.moments.raw[group] as Moments, state.step + 1, options);
      state.raw[group] = [...raw];
      return coefficients(how, raw);
    };
    // An abort in the middle of a step must not leave half of it in the state.
    const before = copyOf(state);
    const gradient = await objective
      .gradient({ alpha, beta: state.beta }, batches.examples(state.step), {
        signal: options.signal,
        next,
      })
      .catch((error) => {
        Object.assign(state, before);
        throw error;
      });
    if (!Number.isFinite(gradient.loss) || !finite(gradient.alpha, gradient.beta)) {
      if (before.step === 0) throw notFinite(gradient.loss);
      return { state: good, before: good, diverged: true };
    }
    good = before;
    state.loss.push(gradient.loss);
    if (state.step % every === 0)
      state.path.push({ beta: state.beta, alpha: alpha.map((a) => [...a]) });
    gradient.alpha.forEach((g, group) => {
      if (!updated.has(group)) next(group, g);
    });
    if (temperature) {
      const beta = Float64Array.of(state.beta);
      adamW(beta, [gradient.beta], state.moments.beta, state.step + 1, options);
      state.beta = beta[0] as number;
    }
    state.step++;
    await options.onStep?.(state);
  }
  return { state, before: good, diverged: false };
}

const finite = (alpha: readonly Float64Array[], beta: number): boolean =>
  Number.isFinite(beta) && alpha.every((row) => row.every(Number.isFinite));

function copyOf({ loss, path, ...rest }: DescentState): DescentState {
  // What was passed on the way only grows: it need not be copied deep.
  return { ...structuredClone(rest), loss: [...loss], path: [...path] };
}

const notFinite = (loss: number): StockpotError =>
  new StockpotError(
    'NONFINITE',
    `the loss of the uniform soup is ${loss}: there is nothing to descend from`,
    {
      remedy: 'Evaluate the ingredients one by one, and leave out those that are broken.',
    },
  );
