import { Presets, SingleBar } from 'cli-progress';
import { showBytes } from '../bytes.js';
import type { Progress } from '../progress.js';

/** Seconds between plain lines where there is no terminal. */
const LINE_EVERY = 5;

/** Shows progress on stderr: a bar on a terminal, a line now and then elsewhere. Short runs show nothing. */
export class ProgressDisplay {
  private bar: SingleBar | undefined;
  private phase = '';
  private lastLine = 0;

  readonly update = (p: Progress): void => {
    if (p.phase !== this.phase) {
      this.stop();
      this.phase = p.phase;
      this.lastLine = 0;
    }
    const { done, all } = p.steps ?? { done: p.bytesRead, all: p.bytesTotal };
    const show = p.steps ? (n: number) => `${Math.round(n)} steps` : showBytes;
    const rate = done / Math.max(p.seconds, 1e-3);
    const left = Math.ceil((all - done) / Math.max(rate, p.steps ? 1e-3 : 1));
    if (!process.stderr.isTTY) {
      if (p.seconds - this.lastLine < LINE_EVERY) return;
      this.lastLine = p.seconds;
      process.stderr.write(`${p.phase}: ${show(done)} of ${show(all)}, ${left} s left\n`);
      return;
    }
    const shown = {
      read: show(done),
      all: show(all),
      left,
    };
    if (!this.bar) {
      this.bar = new SingleBar(
        {
          format: `${p.phase} {bar} {percentage} % | {read} of {all} | {left} s left`,
          stream: process.stderr,
          hideCursor: true,
          clearOnComplete: true,
          gracefulExit: false,
        },
        Presets.shades_classic,
      );
      this.bar.start(Math.max(1, all), done, shown);
    } else {
      this.bar.update(done, shown);
    }
  };

  stop(): void {
    this.bar?.stop();
    this.bar = undefined;
  }
}
