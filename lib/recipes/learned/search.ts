import type { Metrics } from '../../evaluate/metrics.js';
import type { LearningPlan } from '../../learn/plan.js';

/** A way to find mixing coefficients, all its options checked; nothing is evaluated before it runs. */
export interface Search {
  steps: number;
  /** What it will hold in memory and read, where that is known before. */
  plan?: LearningPlan;
  run(): Promise<Found>;
}

/** The coefficients that a search ends with. */
export interface Found {
  /** One row of k a group. */
  alpha: readonly Float64Array[];
  beta: number;
  /** Of every step. */
  loss: number[];
  steps: number;
  /** Of the mix on all held-out examples. */
  metrics: Partial<Metrics>;
  /** What the soup's record says of the search. */
  details: Record<string, unknown>;
  warnings: string[];
}
