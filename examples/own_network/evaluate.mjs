// node evaluate.mjs SOUP DATA: runs a small network on a soup's weights, and says how good it is in its last line.
import { readFileSync } from 'node:fs';

function tensors(path) {
  const file = readFileSync(path);
  const start = 8 + Number(file.readBigUInt64LE(0));
  const header = JSON.parse(file.subarray(8, start));
  const element = {
    F32: (at) => file.readFloatLE(at),
    I64: (at) => Number(file.readBigInt64LE(at)),
  };
  const read = ({ dtype, data_offsets: [from, to] }) => {
    const size = dtype === 'F32' ? 4 : 8;
    return Array.from({ length: (to - from) / size }, (_, i) =>
      element[dtype](start + from + i * size),
    );
  };
  return Object.fromEntries(
    Object.entries(header)
      .filter(([n]) => n !== '__metadata__')
      .map(([n, t]) => [n, read(t)]),
  );
}

const w = tensors(`${process.argv[2]}/model.safetensors`);
const { pixel_values: pixels, labels } = tensors(process.argv[3]);
const linear = (x, name, bias = w[`${name}.bias`]) =>
  Array.from({ length: w[`${name}.weight`].length / x.length }, (_, o) =>
    x.reduce((sum, v, i) => sum + v * w[`${name}.weight`][o * x.length + i], bias ? bias[o] : 0),
  );
const norm = (x) => {
  const mean = x.reduce((a, b) => a + b) / x.length;
  const deviation = Math.sqrt(x.reduce((s, v) => s + (v - mean) ** 2, 0) / x.length + 1e-5);
  return x.map((v, i) => ((v - mean) / deviation) * w['norm.weight'][i] + w['norm.bias'][i]);
};
const add = (a, b, by = 1) => a.map((v, i) => v + b[i] * by);

/** The patch in row r and column c of an image of 3 channels of 8 x 8. */
const patch = (image, r, c) =>
  Array.from(
    { length: 48 },
    (_, i) => image[(i >> 4) * 64 + (4 * r + ((i >> 2) & 3)) * 8 + 4 * c + (i & 3)],
  );
const logits = labels.map((_, n) => {
  const image = pixels.slice(n * 192, (n + 1) * 192);
  const tokens = [0, 1, 2, 3].map((t) => {
    let x = linear(patch(image, t >> 1, t & 1), 'embed');
    x = add(x, linear(norm(x), 'square'));
    return add(
      x,
      linear(
        linear(x, 'up').map((v) => Math.max(0, v)),
        'down',
      ),
      w.scale[0],
    );
  });
  return linear(
    tokens[0].map((_, i) => tokens.reduce((s, t) => s + t[i], 0) / 4),
    'head',
  );
});
const right = logits.filter((row, n) => row.indexOf(Math.max(...row)) === labels[n]).length;
const loss = logits.reduce(
  (s, row, n) => s + Math.log(row.reduce((e, v) => e + Math.exp(v), 0)) - row[labels[n]],
  0,
);
console.log(
  JSON.stringify({ loss: loss / labels.length, metrics: { accuracy: right / labels.length } }),
);
