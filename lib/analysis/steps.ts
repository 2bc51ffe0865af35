import type { OnProgress } from '../progress.js';

/** Reports how many of a known number of steps are done. */
export class Steps {
  private readonly began = performance.now();
  private done = 0;

  constructor(
    private readonly phase: string,
    private readonly total: number,
    private readonly onProgress: OnProgress | undefined,
  ) {}

  step(): void {
    this.done++;
    this.onProgress?.({
      phase: this.phase,
      bytesRead: 0,
      bytesWritten: 0,
      bytesTotal: 0,
      seconds: (performance.now() - this.began) / 1000,
      steps: { done: this.done, all: this.total },
    });
  }
}
