import type { RunOptions } from '../../progress.js';

/** One step of the descent; with `cma`, one generation. */
export interface LearnedStep {
  /** Steps taken so far, and in all. */
  step: number;
  steps: number;
  /** Of this step's examples, before its update. */
  loss: number;
  beta: number;
}

/** Tells of every step that was taken, out of so many. */
export function stepTeller(
  { onStep, onProgress }: RunOptions & { onStep?: (step: LearnedStep) => void },
  steps: number,
): (step: number, loss: number, beta: number) => void {
  const began = performance.now();
  return (step, loss, beta) => {
    onStep?.({ step, steps, loss, beta });
    onProgress?.({
      phase: 'learn',
      bytesRead: 0,
      bytesWritten: 0,
      bytesTotal: 0,
      seconds: (performance.now() - began) / 1000,
      steps: { done: step, all: steps },
    });
  };
}
