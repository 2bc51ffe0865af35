/** Work on one of several items, by one of several workers. It ends early, by an error, when `signal` says so. */
type Work<W, T> = (worker: W, position: number, signal: AbortSignal) => Promise<T>;

interface Running<T> {
  result: Promise<T>;
  stop: AbortController;
}

/**
 * Results of items 0, 1, 2, … that are taken in turn, while the workers that are free are already at the next ones: with
 * w workers, never more than w - 1 items beyond the one that is waited for. What is ahead can be thrown away and done
 * again. With one worker, nothing is done before it is asked for.
 */
export class InTurn<W, T> {
  private readonly free: W[];
  private readonly ahead: number;
  private readonly running = new Map<number, Running<T>>();
  private next = 0;

  constructor(
    workers: readonly W[],
    private readonly count: number,
    private readonly work: Work<W, T>,
  ) {
    this.free = [...workers];
    this.ahead = workers.length;
  }

  /** The result of the item at this position, which is each time the next one. Rejects as its work does. */
  async take(position: number): Promise<T> {
    this.fill(position);
    try {
      return await (this.running.get(position) as Running<T>).result;
    } finally {
      this.running.delete(position);
    }
  }

  /** Stops what was begun ahead of `position`, and waits until all workers are free; `position` is the next one. */
  async discard(position: number): Promise<void> {
    const all = [...this.running.values()];
    this.running.clear();
    for (const { stop } of all) stop.abort();
    await Promise.allSettled(all.map((r) => r.result));
    this.next = position;
  }

  private fill(position: number): void {
    while (this.free.length > 0 && this.next < Math.min(this.count, position + this.ahead))
      this.begin(this.next++);
  }

  private begin(position: number): void {
    const worker = this.free.shift() as W;
    const stop = new AbortController();
    const result = this.work(worker, position, stop.signal).finally(() => this.free.push(worker));
    // Whoever takes it learns of its failure; one that is thrown away fails unheard.
    result.catch(() => {});
    this.running.set(position, { result, stop });
  }
}
