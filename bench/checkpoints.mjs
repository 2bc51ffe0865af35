// Random checkpoints with the tensor shapes of real vision transformers: sizes and counts are what a merge's time
// depends on; values are random (zeros would run faster), of the size that trained weights have.
import {
  closeSync,
  existsSync,
  fsyncSync,
  mkdirSync,
  openSync,
  statSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';

/** D, L, M of timm's vit_large_patch14 and vit_gigantic_patch14. */
const NETWORKS = {
  'vit-b': { width: 768, layers: 12, mlp: 3072, tokens: 50, patch: 32 },
  'vit-l': { width: 1024, layers: 24, mlp: 4096, tokens: 257, patch: 14 },
  'vit-g': { width: 1664, layers: 48, mlp: 8192, tokens: 257, patch: 14 },
};

/** timm's tensor names and shapes; `layers` may be cut for a smaller checkpoint of the same kind. */
export function shapesOf(network, layers) {
  const { width: d, mlp: m, tokens, patch, layers: all } = NETWORKS[network];
  const shapes = [
    ['cls_token', [1, 1, d]],
    ['pos_embed', [1, tokens, d]],
    ['patch_embed.proj.weight', [d, 3, patch, patch]],
    ['patch_embed.proj.bias', [d]],
  ];
  for (let i = 0; i < (layers ?? all); i++) {
    const b = `blocks.${i}`;
    shapes.push([`${b}.norm1.weight`, [d]], [`${b}.norm1.bias`, [d]]);
    shapes.push([`${b}.attn.qkv.weight`, [3 * d, d]], [`${b}.attn.qkv.bias`, [3 * d]]);
    shapes.push([`${b}.attn.proj.weight`, [d, d]], [`${b}.attn.proj.bias`, [d]]);
    shapes.push([`${b}.norm2.weight`, [d]], [`${b}.norm2.bias`, [d]]);
    shapes.push([`${b}.mlp.fc1.weight`, [m, d]], [`${b}.mlp.fc1.bias`, [m]]);
    shapes.push([`${b}.mlp.fc2.weight`, [d, m]], [`${b}.mlp.fc2.bias`, [d]]);
  }
  shapes.push(
    ['norm.weight', [d]],
    ['norm.bias', [d]],
    ['head.weight', [1000, d]],
    ['head.bias', [1000]],
  );
  return shapes;
}

const BYTES = { F32: 4, F16: 2, BF16: 2 };
const BLOCK = 1 << 22;

/** Random bits shaped into values of about ±0.03: sign, mantissa and the last exponent bits are random. */
function fillRandom(words, dtype, seed) {
  let s = seed | 1;
  for (let i = 0; i < words.length; i++) {
    s ^= s << 13;
    s ^= s >>> 17;
    s ^= s << 5;
    words[i] =
      dtype === 'F32'
        ? (s & 0x81ffffff) | 0x3c000000
        : dtype === 'BF16'
          ? (s & 0x81ff81ff) | 0x3c003c00
          : (s & 0x8fff8fff) | 0x20002000;
  }
}

/** Writes one checkpoint unless it is there; returns its path and bytes of data. */
export function makeCheckpoint(path, shapes, dtype, seed) {
  const table = {};
  let at = 0;
  for (const [name, shape] of shapes) {
    const end = at + shape.reduce((a, b) => a * b, BYTES[dtype]);
    table[name] = { dtype, shape, data_offsets: [at, end] };
    at = end;
  }
  let header = JSON.stringify({ __metadata__: { format: 'pt' }, ...table });
  header += ' '.repeat((8 - (header.length % 8)) % 8);
  if (existsSync(path) && statSync(path).size === 8 + header.length + at)
    return { path, bytes: at };
  const fd = openSync(path, 'w');
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(header.length));
  writeSync(fd, length);
  writeSync(fd, header);
  const words = new Int32Array(BLOCK / 4);
  for (let done = 0, n = 0; done < at; n++) {
    fillRandom(words, dtype, seed * 7919 + n * 104729 + 1);
    const bytes = Math.min(BLOCK, at - done);
    writeSync(fd, new Uint8Array(words.buffer, 0, bytes));
    done += bytes;
  }
  fsyncSync(fd);
  closeSync(fd);
  return { path, bytes: at };
}

/** k checkpoints in a folder. `layers` cuts the network to a smaller one of the same kind. */
export function makeCheckpoints(folder, { network, layers, dtype, k }) {
  mkdirSync(folder, { recursive: true });
  const shapes = shapesOf(network, layers);
  const made = [];
  for (let i = 0; i < k; i++) {
    made.push(
      makeCheckpoint(
        join(folder, `${network}-${layers ?? 'all'}-${dtype}-${i}.safetensors`),
        shapes,
        dtype,
        i + 1,
      ),
    );
  }
  return { paths: made.map((m) => m.path), bytes: made[0].bytes };
}
