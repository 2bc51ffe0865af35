/**
 * Random numbers that are the same for the same seed on every machine: xoshiro128** (Blackman and Vigna 2021), its state
 * filled by SplitMix32. Not for secrets.
 */
export class Random {
  private readonly s: Uint32Array;

  /** @param seed any numbers; together they choose the sequence */
  constructor(...seed: readonly number[]) {
    let x = 0x9e3779b9;
    const next = (): number => {
      x = (x + 0x9e3779b9) | 0;
      let z = x ^ (x >>> 16);
      z = Math.imul(z, 0x21f0aaad);
      z = Math.imul(z ^ (z >>> 15), 0x735a2d97);
      return (z ^ (z >>> 15)) >>> 0;
    };
    for (const part of seed) {
      x = (next() ^ part) | 0;
      x = (next() ^ Math.floor(part / 2 ** 32)) | 0;
    }
    this.s = Uint32Array.from({ length: 4 }, next);
  }

  /** A whole number from 0 to 2^32 − 1. */
  next(): number {
    const s = this.s as unknown as [number, number, number, number];
    const product = Math.imul(s[1], 5);
    const result = Math.imul((product << 7) | (product >>> 25), 9) >>> 0;
    const t = s[1] << 9;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = (s[3] << 11) | (s[3] >>> 21);
    return result;
  }

  /** A whole number from 0 to n − 1, each as likely (n ≤ 2^32). */
  below(n: number): number {
    // What would favour the small ones is drawn again.
    const limit = 2 ** 32 - (2 ** 32 % n);
    for (;;) {
      const x = this.next();
      if (x < limit) return x % n;
    }
  }

  /** 0 … n − 1 in random order (Fisher–Yates). */
  permutation(n: number): number[] {
    const order = [...Array(n).keys()];
    for (let i = n - 1; i > 0; i--) {
      const j = this.below(i + 1);
      [order[i], order[j]] = [order[j] as number, order[i] as number];
    }
    return order;
  }
}
