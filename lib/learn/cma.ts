import { symmetricEigen } from './eigen.js';
import { randomNumbers } from './minibatches.js';

/** Beyond so many variables only the diagonal of the covariance is learned (sep-CMA-ES, Ros & Hansen 2008). */
const FULL = 100;

export interface CmaOptions {
  seed?: number;
  /** Points of a generation; 4 + ⌊3 ln n⌋ by default. */
  population?: number;
}

/**
 * Minimises a function of n variables by its order alone: the covariance matrix adaptation evolution strategy (Hansen,
 * "The CMA Evolution Strategy: A Tutorial", arXiv 1604.00772; names and defaults are the tutorial's, with positive weights
 * only). `ask` gives a generation of points, `tell` takes their values. The same seed gives the same points.
 */
export class CmaEs {
  readonly population: number;
  private readonly n: number;
  private readonly weights: number[];
  private readonly muEff: number;
  private readonly cSigma: number;
  private readonly dSigma: number;
  private readonly cC: number;
  private readonly c1: number;
  private readonly cMu: number;
  private readonly chiN: number;
  private readonly normal: () => number;
  private readonly diagonal: boolean;
  private pSigma: Float64Array;
  private pC: Float64Array;
  /** Covariance, and its square root's parts: C = B diag(D²) Bᵀ. The diagonal alone where only that is learned. */
  private c: Float64Array;
  private b: Float64Array;
  private d: Float64Array;
  private generation = 0;
  private steps: Float64Array[] = [];

  /**
   * @param mean where the search begins
   * @param sigma how far it looks at first, in each variable
   */
  constructor(
    public mean: Float64Array,
    public sigma: number,
    { seed = 0, population }: CmaOptions = {},
  ) {
    const n = mean.length;
    this.n = n;
    this.diagonal = n > FULL;
    this.population = population ?? 4 + Math.floor(3 * Math.log(n));
    const mu = Math.floor(this.population / 2);
    const raw = Array.from(
      { length: mu },
      (_, i) => Math.log((this.population + 1) / 2) - Math.log(i + 1),
    );
    const sum = raw.reduce((a, w) => a + w, 0);
    this.weights = raw.map((w) => w / sum);
    const m = 1 / this.weights.reduce((a, w) => a + w * w, 0);
    this.muEff = m;
    this.cSigma = (m + 2) / (n + m + 5);
    this.dSigma = 1 + 2 * Math.max(0, Math.sqrt((m - 1) / (n + 1)) - 1) + this.cSigma;
    this.cC = (4 + m / n) / (n + 4 + (2 * m) / n);
    const c1 = 2 / ((n + 1.3) ** 2 + m);
    const cMu = Math.min(1 - c1, (2 * (m - 2 + 1 / m)) / ((n + 2) ** 2 + m));
    const faster = this.diagonal ? (n + 2) / 3 : 1;
    this.c1 = Math.min(0.5, c1 * faster);
    this.cMu = Math.min(1 - this.c1, cMu * faster);
    this.chiN = Math.sqrt(n) * (1 - 1 / (4 * n) + 1 / (21 * n * n));
    this.normal = normalNumbers(seed);
    this.pSigma = new Float64Array(n);
    this.pC = new Float64Array(n);
    this.c = this.diagonal ? new Float64Array(n).fill(1) : identity(n);
    this.b = this.diagonal ? new Float64Array() : identity(n);
    this.d = new Float64Array(n).fill(1);
  }

  /** A generation of points. */
  ask(): Float64Array[] {
    this.steps = Array.from({ length: this.population }, () => {
      const z = this.d.map((d) => d * this.normal());
      return this.diagonal ? z : this.times(this.b, z, false);
    });
    return this.steps.map((y) => this.mean.map((x, i) => x + this.sigma * (y[i] as number)));
  }

  /**
   * @param values of the points of the last `ask`, in their order; a number that is not finite is the worst
   */
  tell(values: readonly number[]): void {
    const worst = (v: number) => (Number.isNaN(v) ? Number.POSITIVE_INFINITY : v);
    const order = [...values.keys()].sort((i, j) => {
      const [a, b] = [worst(values[i] as number), worst(values[j] as number)];
      return a < b ? -1 : a > b ? 1 : i - j;
    });
    const best = order.slice(0, this.weights.length).map((i) => this.steps[i] as Float64Array);
    const y = new Float64Array(this.n);
    for (const [r, step] of best.entries())
      for (let i = 0; i < this.n; i++)
        y[i] = (y[i] as number) + (this.weights[r] as number) * (step[i] as number);
    this.mean = this.mean.map((x, i) => x + this.sigma * (y[i] as number));
    this.generation++;
    this.adapt(y, best);
  }

  private adapt(y: Float64Array, best: readonly Float64Array[]): void {
    const { n, cSigma, cC, c1, cMu, muEff } = this;
    const white = this.diagonal
      ? y.map((v, i) => v / (this.d[i] as number))
      : this.times(
          this.b,
          this.times(this.b, y, true).map((v, i) => v / (this.d[i] as number)),
          false,
        );
    const push = Math.sqrt(cSigma * (2 - cSigma) * muEff);
    this.pSigma = this.pSigma.map((p, i) => (1 - cSigma) * p + push * (white[i] as number));
    const length = Math.hypot(...this.pSigma);
    const expected = Math.sqrt(1 - (1 - cSigma) ** (2 * this.generation));
    // The path stalls while the step size grows fast.
    const h = length / expected < (1.4 + 2 / (n + 1)) * this.chiN ? 1 : 0;
    const pull = h * Math.sqrt(cC * (2 - cC) * muEff);
    this.pC = this.pC.map((p, i) => (1 - cC) * p + pull * (y[i] as number));
    const keep = 1 - c1 - cMu + (1 - h) * c1 * cC * (2 - cC);
    const outer = (i: number, j: number) => {
      let rankMu = 0;
      for (const [r, s] of best.entries())
        rankMu += (this.weights[r] as number) * (s[i] as number) * (s[j] as number);
      return c1 * (this.pC[i] as number) * (this.pC[j] as number) + cMu * rankMu;
    };
    if (this.diagonal) {
      this.c = this.c.map((v, i) => keep * v + outer(i, i));
      this.d = this.c.map((v) => Math.sqrt(Math.max(v, 1e-300)));
    } else {
      for (let i = 0; i < n; i++)
        for (let j = 0; j <= i; j++) {
          const v = keep * (this.c[i * n + j] as number) + outer(i, j);
          this.c[i * n + j] = v;
          this.c[j * n + i] = v;
        }
      const { values, vectors } = symmetricEigen(this.c, n);
      this.b = vectors;
      this.d = values.map((v) => Math.sqrt(Math.max(v, 1e-300)));
    }
    const grow = Math.exp((cSigma / this.dSigma) * (length / this.chiN - 1));
    this.sigma = Math.min(this.sigma * grow, 1e100);
  }

  /** B x, or Bᵀ x. */
  private times(b: Float64Array, x: Float64Array, transposed: boolean): Float64Array {
    const { n } = this;
    return Float64Array.from({ length: n }, (_, i) => {
      let sum = 0;
      for (let j = 0; j < n; j++)
        sum += (b[transposed ? j * n + i : i * n + j] as number) * (x[j] as number);
      return sum;
    });
  }
}

function identity(n: number): Float64Array {
  const m = new Float64Array(n * n);
  for (let i = 0; i < n; i++) m[i * n + i] = 1;
  return m;
}

/** Numbers of the standard normal distribution (Box & Muller 1958). */
function normalNumbers(seed: number): () => number {
  const uniform = randomNumbers(seed);
  let spare: number | undefined;
  return () => {
    if (spare !== undefined) {
      const x = spare;
      spare = undefined;
      return x;
    }
    const r = Math.sqrt(-2 * Math.log(1 - uniform()));
    const angle = 2 * Math.PI * uniform();
    spare = r * Math.sin(angle);
    return r * Math.cos(angle);
  };
}
