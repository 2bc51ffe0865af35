/** Numbers in [0, 1), the same for the same seed everywhere (mulberry32). */
export function randomNumbers(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** A hash of two integers, so that every epoch has a seed of its own (splitmix's finaliser). */
function mixSeeds(seed: number, epoch: number): number {
  let h = Math.imul(seed ^ Math.imul(epoch + 1, 0x9e3779b1), 0x85ebca6b) >>> 0;
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35) >>> 0;
  return (h ^ (h >>> 16)) >>> 0;
}

/**
 * The examples of each step: every epoch takes all of them once, in an order of its own that follows from the seed. The
 * last step of an epoch may have fewer. Whole batches keep the examples' order.
 */
export class Minibatches {
  readonly perEpoch: number;
  private epoch = -1;
  private order: Int32Array = new Int32Array();

  constructor(
    private readonly count: number,
    private readonly size: number,
    private readonly seed: number,
  ) {
    this.perEpoch = Math.ceil(count / size);
  }

  /** @param step from 0 */
  examples(step: number): Int32Array {
    const epoch = Math.floor(step / this.perEpoch);
    if (epoch !== this.epoch) {
      this.epoch = epoch;
      this.order = this.size >= this.count ? inOrder(this.count) : this.shuffled(epoch);
    }
    const from = (step % this.perEpoch) * this.size;
    return this.order.slice(from, from + this.size);
  }

  /** Fisher–Yates. */
  private shuffled(epoch: number): Int32Array {
    const order = inOrder(this.count);
    const next = randomNumbers(mixSeeds(this.seed, epoch));
    for (let i = order.length - 1; i > 0; i--) {
      const j = Math.floor(next() * (i + 1));
      const t = order[i] as number;
      order[i] = order[j] as number;
      order[j] = t;
    }
    return order;
  }
}

const inOrder = (n: number): Int32Array => Int32Array.from({ length: n }, (_, i) => i);
