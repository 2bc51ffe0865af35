// How often other ways to take a mean miss the correctly rounded one: the table in docs/numerics.md.
// Values are normally distributed with standard deviation 0.02 around a common point, as fine-tuned weights are around
// their initialisation; the generator is seeded, so that every run prints the same table.
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const addon = createRequire(import.meta.url)('node-gyp-build')(root);
const [F32, BF16] = [1, 3]; // positions in lib/checkpoint/dtype.ts
const N = 200_000;

let state = 1;
const uniform = () => {
  state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
  return (state + 0.5) / 2 ** 32;
};
const normal = () => Math.sqrt(-2 * Math.log(uniform())) * Math.cos(2 * Math.PI * uniform());

const word = new Float32Array(1);
const bits = new Uint32Array(word.buffer);
/** A float32 rounded to nearest even to bfloat16's precision. */
const toBf16 = (x) => {
  word[0] = x;
  bits[0] = (bits[0] + 0x7fff + ((bits[0] >>> 16) & 1)) & 0xffff0000;
  return word[0];
};

/** k models of one type: values, and the bytes as a file has them. */
function models(k, dtype) {
  const centre = Float64Array.from({ length: N }, () => 0.02 * normal());
  return Array.from({ length: k }, () => {
    const values = Float32Array.from(centre, (c) => c + 0.002 * normal());
    if (dtype === F32) return { values, bytes: new Uint8Array(values.buffer) };
    for (let i = 0; i < N; i++) values[i] = toBf16(values[i]);
    const half = Uint16Array.from(new Uint32Array(values.buffer), (u) => u >>> 16);
    return { values, bytes: new Uint8Array(half.buffer) };
  });
}

function exact(inputs, dtype) {
  const types = inputs.map(() => dtype);
  const { out } = addon.meanBlock(
    '',
    inputs.map((m) => m.bytes),
    types,
    null,
    dtype,
  );
  if (dtype === F32) return new Float32Array(out.buffer, out.byteOffset, N);
  const half = new Uint16Array(out.buffer, out.byteOffset, N);
  return Float32Array.from(half, (u) => {
    bits[0] = u << 16;
    return word[0];
  });
}

const METHODS = [
  {
    name: 'float32, adding v · (1/k) (as the official model-soups code)',
    dtype: F32,
    mean: (x) => x.reduce((s, v) => Math.fround(s + Math.fround(v * Math.fround(1 / x.length))), 0),
  },
  {
    name: 'float32, summed, then divided',
    dtype: F32,
    mean: (x) => Math.fround(x.reduce((s, v) => Math.fround(s + v), 0) / x.length),
  },
  {
    name: 'float64, adding v · (1/k), rounded once',
    dtype: F32,
    mean: (x) => Math.fround(x.reduce((s, v) => s + v * (1 / x.length), 0)),
  },
  {
    name: 'bfloat16, summed, then divided',
    dtype: BF16,
    mean: (x) => toBf16(Math.fround(x.reduce((s, v) => toBf16(Math.fround(s + v)), 0) / x.length)),
  },
  {
    name: 'bfloat16 inputs summed in float32, divided, rounded',
    dtype: BF16,
    mean: (x) => toBf16(Math.fround(x.reduce((s, v) => Math.fround(s + v), 0) / x.length)),
  },
];

console.log(
  '| way | k | elements that differ | relative error (RMS) |\n| --- | ---: | ---: | ---: |',
);
for (const { name, dtype, mean } of METHODS) {
  for (const k of [5, 14, 72]) {
    state = k;
    const inputs = models(k, dtype);
    const right = exact(inputs, dtype);
    let different = 0;
    let [error, size] = [0, 0];
    for (let i = 0; i < N; i++) {
      const got = mean(inputs.map((m) => m.values[i]));
      if (got !== right[i]) different++;
      error += (got - right[i]) ** 2;
      size += right[i] ** 2;
    }
    const share = `${((100 * different) / N).toFixed(2)} %`;
    const relative = different === 0 ? '0' : Math.sqrt(error / size).toExponential(1);
    console.log(`| ${name} | ${k} | ${share} | ${relative} |`);
  }
}
