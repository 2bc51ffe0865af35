import type { Checkpoint } from '../../checkpoint/types.js';
import type { ExampleEvaluator } from '../../evaluate/evaluator.js';
import { NativeEvaluator } from '../../evaluate/native_evaluator.js';
import { Session } from '../../evaluate/session.js';
import { flopsOf } from '../../models/flops.js';
import { type ComparedData, type CompareOptions, isEvaluator } from './options.js';
import { Panel } from './panel.js';

/**
 * Opens a data set for these models.
 * @param expected mixes that will be run on it, at most; for progress
 */
export async function openPanel(
  models: readonly Checkpoint[],
  set: string,
  data: ComparedData,
  options: CompareOptions,
  expected: number,
) {
  const { signal, cacheMemory = 2 ** 30, onStep, onProgress } = options;
  const began = performance.now();
  const make = (evaluator: ExampleEvaluator) => {
    let runs = 0;
    const report = () => {
      runs++;
      onStep?.({ set, runs });
      onProgress?.({
        phase: `compare, ${set}`,
        bytesRead: 0,
        bytesWritten: 0,
        bytesTotal: 0,
        seconds: (performance.now() - began) / 1000,
        steps: { done: Math.min(runs, expected), all: expected },
      });
    };
    return new Panel(models, evaluator, {
      soup: options,
      memory: cacheMemory,
      signal,
      onRun: report,
    });
  };
  if (isEvaluator(data)) {
    const panel = make(data);
    const about = { path: data.id, notes: [] as readonly string[], flops: null };
    return { panel, about, close: () => panel.close() };
  }
  const session = await Session.open(models, { ...options, data });
  const panel = make(new NativeEvaluator(session));
  return {
    panel,
    about: {
      path: session.data.path,
      notes: session.notes,
      flops: session.graph ? null : flopsOf(session.definition.graph),
    },
    close: async () => {
      await panel.close();
      await session.close();
    },
  };
}
