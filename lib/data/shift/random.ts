import { createHash } from 'node:crypto';

/** Normally distributed numbers that follow from a text alone, on every machine. */
export class Normal {
  private readonly state: Uint32Array;
  private spare: number | undefined;

  constructor(seed: string) {
    const hash = createHash('sha256').update(seed).digest();
    this.state = Uint32Array.from({ length: 4 }, (_, i) => hash.readUInt32LE(4 * i));
    this.state[3] = 1;
    for (let i = 0; i < 16; i++) this.bits();
  }

  /** 32 random bits: Chris Doty-Humphrey's sfc32. */
  private bits(): number {
    const [a, b, c, counter] = this.state as unknown as [number, number, number, number];
    const out = (((a + b) >>> 0) + counter) >>> 0;
    this.state[3] = counter + 1;
    this.state[0] = b ^ (b >>> 9);
    this.state[1] = c + (c << 3);
    this.state[2] = ((c << 21) | (c >>> 11)) + out;
    return out;
  }

  /** From 0 up to 1, of 53 bits. */
  private uniform(): number {
    return ((this.bits() >>> 5) * 2 ** 26 + (this.bits() >>> 6)) / 2 ** 53;
  }

  /** Of mean 0 and deviation 1 (Box and Muller). */
  next(): number {
    if (this.spare !== undefined) {
      const found = this.spare;
      this.spare = undefined;
      return found;
    }
    const radius = Math.sqrt(-2 * Math.log(1 - this.uniform()));
    const angle = 2 * Math.PI * this.uniform();
    this.spare = radius * Math.sin(angle);
    return radius * Math.cos(angle);
  }
}
