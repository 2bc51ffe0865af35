import type { Evaluator } from '../../evaluate/evaluator.js';
import { type Accept, isBetter, isKept } from '../../evaluate/rejection.js';
import type { Outcome } from '../../evaluate/resume.js';
import { InTurn } from './in_turn.js';
import type { Kitchen, Known } from './kitchen.js';

/** One candidate that was tried. */
export interface GreedyStep {
  /** Position of the ingredient. */
  candidate: number;
  /** The metric of the soup with it; null where it was rejected before all examples were evaluated. */
  value: number | null;
  kept: boolean;
  /** How many examples were evaluated; null where the evaluator does not say. */
  evaluated: number | null;
}

/** What was chosen, and how. */
export interface Choice {
  /** Positions of the ingredients in the order in which they were tried. */
  order: number[];
  /** In the order in which they were accepted. */
  members: number[];
  /** How the soup of the members does. */
  best: Known;
  /** From the second in order on. */
  trace: GreedyStep[];
}

/**
 * The greedy recipe itself: only numbers and decisions. Where the kitchen has several evaluators, the next candidates are
 * evaluated against the current soup at once; as soon as one is kept, what was begun beyond it is thrown away, as it was
 * measured against a soup that is the best no more. Decisions and trace are those of one evaluator.
 */
export async function choose(
  kitchen: Kitchen,
  accept: Accept,
  how: 'metric' | 'given',
  onStep?: (step: GreedyStep) => void,
): Promise<Choice> {
  const { order, first } = await sortIngredients(kitchen, how);
  let best = first;
  const members = [order[0] as number];
  const trace: GreedyStep[] = [];
  const rest = order.slice(1);
  const w = kitchen.evaluators.length;
  const tries = new InTurn<Evaluator, Outcome>(kitchen.evaluators, rest.length, (e, at, stop) => {
    kitchen.expect(rest.slice(at + 1, at + 1 + w));
    return kitchen.try(e, members, rest[at] as number, best, accept, stop);
  });
  try {
    for (const [at, candidate] of rest.entries()) {
      const outcome = await tries.take(at);
      const { value, evaluated } = outcome;
      const kept = value !== null && isKept(kitchen.metric, accept, value, best.value);
      if (kept) {
        await tries.discard(at + 1);
        members.push(candidate);
        best = outcome as Known;
      }
      const step = { candidate, value, kept, evaluated };
      trace.push(step);
      onStep?.(step);
    }
  } finally {
    await tries.discard(rest.length);
    kitchen.expect([]);
  }
  return { order, members, best, trace };
}

/** Best first, NaN last, ties by position; and how the first one does. */
async function sortIngredients(kitchen: Kitchen, how: 'metric' | 'given') {
  const order = [...kitchen.checkpoints.keys()];
  const wanted = how === 'given' ? 1 : order.length;
  kitchen.passes = wanted + order.length - 1;
  const w = kitchen.evaluators.length;
  const outcomes = new InTurn<Evaluator, Known>(kitchen.evaluators, wanted, (e, i, stop) => {
    kitchen.expect(order.slice(i + 1, i + 1 + w));
    return kitchen.evaluate(e, i, stop);
  });
  try {
    let first = await outcomes.take(0);
    if (how === 'given') return { order, first };
    const values = [first.value];
    for (const i of order.slice(1)) {
      const outcome = await outcomes.take(i);
      values.push(outcome.value);
      if (isBetter(kitchen.metric, outcome.value, first.value)) first = outcome;
    }
    order.sort((a, b) => {
      const [x, y] = [values[a] as number, values[b] as number];
      if (isBetter(kitchen.metric, x, y)) return -1;
      return isBetter(kitchen.metric, y, x) ? 1 : a - b;
    });
    return { order, first };
  } finally {
    await outcomes.discard(wanted);
    kitchen.expect([]);
  }
}
