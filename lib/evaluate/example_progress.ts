import type { OnProgress, RunOptions } from '../progress.js';

/** How often progress is reported, in milliseconds. */
const TICK = 100;

/** Tells of the examples of one pass over a data set: not too often, and at the end. */
export class ExampleProgress {
  private readonly began = performance.now();
  private last = this.began;
  private examples = 0;

  constructor(
    private readonly onProgress: OnProgress | undefined,
    private readonly total: number,
  ) {}

  add(n: number): void {
    this.examples += n;
    const now = performance.now();
    if (!this.onProgress || (now - this.last < TICK && this.examples < this.total)) return;
    this.last = now;
    this.onProgress({
      phase: 'evaluate',
      bytesRead: 0,
      bytesWritten: 0,
      bytesTotal: 0,
      examples: this.examples,
      examplesTotal: this.total,
      seconds: (now - this.began) / 1000,
    });
  }
}

/** Progress of one of several passes. */
export const passOf = (
  { onProgress }: RunOptions,
  pass: number,
  passes: number,
): OnProgress | undefined => onProgress && ((p) => onProgress({ ...p, pass, passes }));
