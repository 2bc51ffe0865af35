/**
 * Resampling filters with Pillow's names, supports and formulas (python-pillow/Pillow, `src/libImaging/Resample.c`);
 * they are antialiased: widened by the factor of a reduction.
 */
export type Filter = 'nearest' | 'box' | 'bilinear' | 'hamming' | 'bicubic' | 'lanczos';

interface Kernel {
  /** Half the width, in source pixels, where nothing is reduced. */
  support: number;
  weight(x: number): number;
}

const sinc = (x: number): number => (x === 0 ? 1 : Math.sin(x * Math.PI) / (x * Math.PI));

/** Keys' cubic convolution with a = −0.5. */
function cubic(x: number): number {
  const a = -0.5;
  const t = Math.abs(x);
  if (t < 1) return ((a + 2) * t - (a + 3)) * t * t + 1;
  return t < 2 ? (((t - 5) * t + 8) * t - 4) * a : 0;
}

const KERNELS: Record<Exclude<Filter, 'nearest'>, Kernel> = {
  box: { support: 0.5, weight: (x) => (x > -0.5 && x <= 0.5 ? 1 : 0) },
  bilinear: { support: 1, weight: (x) => Math.max(0, 1 - Math.abs(x)) },
  hamming: {
    support: 1,
    weight: (x) => (Math.abs(x) < 1 ? sinc(x) * (0.54 + 0.46 * Math.cos(x * Math.PI)) : 0),
  },
  bicubic: { support: 2, weight: cubic },
  lanczos: { support: 3, weight: (x) => (x >= -3 && x < 3 ? sinc(x) * sinc(x / 3) : 0) },
};

/** Bits after the point of the weights: 8 are for the pixel, 2 for overshoot and sign. */
const PRECISION = 32 - 8 - 2;

/** How each of some output pixels is made of input pixels, along one axis. */
export interface Taps {
  /** Of the first input pixel, one an output pixel. */
  start: Int32Array;
  /** Number of input pixels. */
  length: Int32Array;
  /** `width` an output pixel, fixed-point with `PRECISION` bits. */
  weights: Int32Array;
  width: number;
}

/** Taps of output pixels [from, to) where `input` pixels become `output`. */
export function taps(
  filter: Filter,
  input: number,
  output: number,
  from: number,
  to: number,
): Taps {
  if (filter === 'nearest') return nearest(input, output, from, to);
  const { support: unscaled, weight } = KERNELS[filter];
  const scale = input / output;
  const widened = Math.max(scale, 1);
  const support = unscaled * widened;
  const width = Math.ceil(support) * 2 + 1;
  const out = empty(to - from, width);
  const w = new Float64Array(width);
  for (let i = 0; i < to - from; i++) {
    const centre = (from + i + 0.5) * scale;
    const first = Math.max(0, Math.trunc(centre - support + 0.5));
    const n = Math.min(input, Math.trunc(centre + support + 0.5)) - first;
    let sum = 0;
    for (let j = 0; j < n; j++) {
      w[j] = weight((j + first - centre + 0.5) / widened);
      sum += w[j] as number;
    }
    out.start[i] = first;
    out.length[i] = n;
    for (let j = 0; j < n; j++) {
      const x = ((w[j] as number) / (sum || 1)) * 2 ** PRECISION;
      out.weights[i * width + j] = Math.trunc(x < 0 ? x - 0.5 : x + 0.5);
    }
  }
  return out;
}

function nearest(input: number, output: number, from: number, to: number): Taps {
  const out = empty(to - from, 1);
  out.weights.fill(2 ** PRECISION);
  out.length.fill(1);
  for (let i = from; i < to; i++)
    out.start[i - from] = Math.min(input - 1, Math.floor((i + 0.5) * (input / output)));
  return out;
}

const empty = (n: number, width: number): Taps => ({
  start: new Int32Array(n),
  length: new Int32Array(n),
  weights: new Int32Array(n * width),
  width,
});
