import { Presets, SingleBar } from 'cli-progress';
import { showBytes } from '../bytes.js';
import type { Progress } from '../progress.js';

/** Seconds between plain lines where there is no terminal. */
const LINE_EVERY = 5;

/** What is counted: steps of a recipe, examples where a network runs, else bytes. */
function measureOf(p: Progress) {
  const { examples, examplesTotal: total = 0, pass, passes, steps, phase } = p;
  const whole = (n: number) => String(Math.round(n));
  if (steps)
    return { ...steps, total: steps.all, show: (n: number) => `${whole(n)} steps`, title: phase };
  if (examples === undefined)
    return { done: p.bytesRead, total: p.bytesTotal, show: showBytes, title: phase };
  const title = passes === undefined ? phase : `${phase} ${pass} of ${passes}`;
  return { done: examples, total, show: whole, title };
}

/** Shows progress on stderr: a bar on a terminal, a line now and then elsewhere. Short runs show nothing. */
export class ProgressDisplay {
  private bar: SingleBar | undefined;
  private title = '';
  private phase = '';
  private lastLine = performance.now();

  readonly update = (p: Progress): void => {
    const { done, total, show, title } = measureOf(p);
    if (title !== this.title) this.stop();
    if (p.phase !== this.phase) this.lastLine = performance.now();
    this.title = title;
    this.phase = p.phase;
    const rate = done / Math.max(p.seconds, 1e-3);
    const left = Math.ceil((total - done) / Math.max(rate, 1e-3));
    if (!process.stderr.isTTY) {
      const now = performance.now();
      if (now - this.lastLine < LINE_EVERY * 1000) return;
      this.lastLine = now;
      process.stderr.write(`${title}: ${show(done)} of ${show(total)}, ${left} s left\n`);
      return;
    }
    const shown = { title, read: show(done), all: show(total), left };
    if (!this.bar) {
      this.bar = new SingleBar(
        {
          format: '{title} {bar} {percentage} % | {read} of {all} | {left} s left',
          stream: process.stderr,
          hideCursor: true,
          clearOnComplete: true,
          gracefulExit: false,
        },
        Presets.shades_classic,
      );
      this.bar.start(Math.max(1, total), done, shown);
    } else {
      this.bar.update(done, shown);
    }
  };

  stop(): void {
    this.bar?.stop();
    this.bar = undefined;
  }
}
