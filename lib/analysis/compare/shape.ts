import {
  count,
  flag,
  list,
  number,
  object,
  oneOf,
  optional,
  orNull,
  record,
  text,
} from '../shape.js';

const interval = object({ value: number, low: number, high: number });

const bins = list(
  object({ from: number, to: number, n: count, confidence: number, accuracy: number }),
);

const setResult = object({
  accuracy: interval,
  loss: interval,
  ece: interval,
  difference: orNull(
    object({
      value: number,
      low: number,
      high: number,
      better: count,
      worse: count,
      p: number,
      moreThanNoise: flag,
    }),
  ),
  eceDifference: orNull(interval),
  calibrated: orNull(object({ loss: interval, ece: interval })),
  reliability: object({ before: bins, after: orNull(bins) }),
});

const method = object({
  id: text,
  kind: oneOf(
    'base',
    'individual',
    'soup',
    'uniform',
    'greedy',
    'greedy-random',
    'learned',
    'ensemble',
    'greedy-ensemble',
    'oracle',
  ),
  label: text,
  members: list(count),
  weights: orNull(list(number)),
  order: optional(list(count)),
  looksAtTest: flag,
  beta: number,
  cost: object({ passes: count, flops: number }),
  sets: record(setResult),
  shiftMean: orNull(object({ accuracy: interval, difference: orNull(interval) })),
});

const curvePoint = object({
  n: count,
  uniform: record(interval),
  greedy: record(interval),
  ensemble: record(interval),
  soupMinusEnsemble: record(interval),
});

const subset = object({
  judge: text,
  repeats: count,
  sizes: list(
    object({
      n: count,
      rows: list(
        object({
          kind: oneOf('individual', 'uniform', 'greedy', 'greedy-ensemble'),
          label: text,
          seen: list(number),
          judged: list(number),
          members: list(count),
          mean: interval,
          noise: number,
          optimism: interval,
        }),
      ),
    }),
  ),
});

/** Of a `Comparison` as JSON has it. */
export const comparisonShape = object({
  ingredients: list(text),
  base: orNull(text),
  soups: list(text),
  seed: count,
  bootstrap: object({ resamples: count, level: number }),
  sets: list(
    object({
      name: text,
      role: oneOf('heldout', 'test', 'shifted'),
      path: text,
      n: count,
      classes: count,
    }),
  ),
  order: list(count),
  reference: text,
  methods: list(method),
  curve: list(curvePoint),
  subset: orNull(subset),
  parameters: count,
  flops: number,
  examplesRun: count,
  notes: list(text),
});
