import type { Interval } from '../bootstrap.js';
import type { ReliabilityBin } from '../calibration.js';

/** What a set of labelled examples is for. */
export type SetRole = 'heldout' | 'test' | 'shifted';

/** How a method comes to its prediction: a model, a soup by some recipe, an ensemble, or the oracle. */
export type MethodKind =
  | 'base'
  | 'individual'
  /** A soup that was given, not made here. */
  | 'soup'
  | 'uniform'
  | 'greedy'
  | 'greedy-random'
  | 'learned'
  | 'ensemble'
  | 'greedy-ensemble'
  /** The best individual model of each set, chosen by looking at that set: what no honest choice can be sure to reach. */
  | 'oracle';

/** One data set of a comparison. */
export interface ComparedSet {
  name: string;
  role: SetRole;
  /** As given. */
  path: string;
  n: number;
  classes: number;
}

/** A model against the reference on the same examples. */
export interface PairedDifference extends Interval {
  /** Examples that only this method, and that only the reference, gets right. */
  better: number;
  worse: number;
  /** McNemar's exact two-sided test. */
  p: number;
  /** The interval does not hold 0, and p is below 1 − level. */
  moreThanNoise: boolean;
}

/** A method on one set. */
export interface SetResult {
  accuracy: Interval;
  /** Mean cross-entropy in nats. */
  loss: Interval;
  /** Expected calibration error. */
  ece: Interval;
  /** Accuracy minus the reference's; null for the reference. */
  difference: PairedDifference | null;
  /** Calibration error minus the reference's; null for the reference. */
  eceDifference: Interval | null;
  /** With the method's temperature, fitted on the held-out set; null where none could be. */
  calibrated: { loss: Interval; ece: Interval } | null;
  reliability: { before: ReliabilityBin[]; after: ReliabilityBin[] | null };
}

/** One method: what it is made of, what a prediction costs, and how good it is on each set. */
export interface MethodResult {
  /** Unique in a comparison. */
  id: string;
  kind: MethodKind;
  /** For people. */
  label: string;
  /** Positions of the ingredients that are in it (of the ensemble's members); empty where no ingredient is. */
  members: number[];
  /** One an ingredient where they are mixed, else null. */
  weights: number[] | null;
  /** For `greedy-random`: the order in which ingredients were tried. */
  order?: number[];
  /** Chosen with the labels of the very set that it is shown on. */
  looksAtTest: boolean;
  /** For the oracle: which ingredient, by set. */
  chosen?: Record<string, number>;
  /** The inverse temperature that minimises the held-out loss. */
  beta: number | null;
  cost: {
    /** Networks that are run for a prediction. */
    passes: number;
    /** Floating-point operations of a prediction; null where the evaluator has no plan. */
    flops: number | null;
  };
  /** By name of the set. */
  sets: Record<string, SetResult>;
  /** Over the shifted sets, each counted the same; null where there are none. */
  shiftMean: { accuracy: Interval; difference: Interval | null } | null;
}

/** Accuracies with the first n ingredients, best on held-out first. */
export interface CurvePoint {
  /** Number of models. */
  n: number;
  /** By name of the set; and `shiftMean` where there are shifted ones. */
  uniform: Record<string, Interval>;
  greedy: Record<string, Interval>;
  ensemble: Record<string, Interval>;
  /** Uniform soup minus ensemble. */
  soupMinusEnsemble: Record<string, Interval>;
}

/** How a recipe does when it sees few held-out examples. */
export interface SubsetRow {
  kind: Extract<MethodKind, 'individual' | 'uniform' | 'greedy' | 'greedy-ensemble'>;
  label: string;
  /** By repeat: accuracy on the few examples, and on the judging set. */
  seen: number[];
  judged: number[];
  /** By repeat: how many members it has. */
  members: number[];
  /** Mean of `judged`, with the interval that repeats leave. */
  mean: Interval;
  /** Standard deviation of `judged` over repeats: what the choice of examples does. */
  noise: number;
  /** Mean of seen − judged: how much better it looks than it is. */
  optimism: Interval;
}

/** What recipes choose on few held-out examples, and what that is worth. */
export interface SubsetResult {
  /** Set that judges: the test set, or the held-out examples that are not in the subset. */
  judge: string;
  repeats: number;
  sizes: { n: number; rows: SubsetRow[] }[];
}

/** Every method on every set, with 95 % bootstrap intervals and differences to the best individual model. */
export interface Comparison {
  ingredients: string[];
  base: string | null;
  soups: string[];
  seed: number;
  /** Of the intervals. */
  bootstrap: { resamples: number; level: number };
  sets: ComparedSet[];
  /** Positions of the ingredients, best on held-out first. */
  order: number[];
  /** `id` of the method that differences are to: the individual that is best on held-out. */
  reference: string;
  methods: MethodResult[];
  curve: CurvePoint[];
  subset: SubsetResult | null;
  /** Of one model; null where the evaluator has no plan. */
  parameters: number;
  flops: number | null;
  /** How often a network was run on an example, in all. */
  examplesRun: number;
  seconds: number;
  notes: string[];
}
