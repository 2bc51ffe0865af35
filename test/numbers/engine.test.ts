// The streaming engine: the same bytes whatever the threads, chunks, memory and kernel variant; large tensors; memory.
import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  closeSync,
  ftruncateSync,
  mkdtempSync,
  openSync,
  rmSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Writable } from 'node:stream';
import { pathToFileURL } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { DType } from '../../lib/checkpoint/dtype.js';
import { contentHash, fileHashes } from '../../lib/checkpoint/hash.js';
import { openCheckpoint } from '../../lib/checkpoint/open.js';
import { safetensorsHeader } from '../../lib/checkpoint/safetensors.js';
import { native, packageRoot } from '../../lib/native.js';
import { makeSoup } from '../../lib/soup/make.js';
import { encodeBits, format, patternOf, random } from './oracle.js';

const run = promisify(execFile);
let folder = '';
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'stockpot-engine-'));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** A checkpoint of random values of all float types, in tensors of odd sizes, some of them many chunks long. */
function randomCheckpoint(name: string, seed: number): string {
  const next = random(seed);
  const sizes: [DType, number][] = [
    ['F32', 70_001],
    ['BF16', 50_003],
    ['F16', 33_333],
    ['F64', 1_111],
    ['F32', 1],
    ['F8_E4M3', 513],
    ['BF16', 0],
  ];
  const tensors = sizes.map(([dtype, n], i) => ({ name: `t${i}`, dtype, shape: [n] }));
  const data = sizes.map(([dtype, n]) =>
    encodeBits(
      dtype,
      Array.from({ length: n }, () => patternOf(dtype, (next() - 0.5) / 8)),
    ),
  );
  const path = join(folder, name);
  writeFileSync(path, Buffer.concat([safetensorsHeader(tensors, {}), ...data]));
  return path;
}

describe('behaviour 1: the result does not depend on how it is computed', () => {
  const digests = new Set<string>();
  let inputs: string[] = [];
  beforeAll(() => {
    inputs = [1, 2, 3, 4, 5].map((s) => randomCheckpoint(`in${s}.safetensors`, s));
  });

  const cases: {
    threads: number;
    memory?: number;
    tuning?: { chunkBytes?: number; variant?: string };
  }[] = [
    { threads: 1 },
    { threads: 2 },
    { threads: 7 },
    { threads: 3, memory: 2 ** 20 },
    ...[1, 13, 4096, 65_537, 2 ** 26].map((chunkBytes) => ({ threads: 2, tuning: { chunkBytes } })),
    ...native()
      .variants()
      .map((variant) => ({ threads: 2, tuning: { variant } })),
  ];
  // Equal weights, and weights whose sums round differently in another order.
  for (const weights of [undefined, [0.1, 0.7, -0.3, 0.2, 0.3]]) {
    it.each(cases)(`${weights ? 'weighted' : 'mean'}: %j`, async (options) => {
      // One byte a chunk is slow: enough of it with a part of the tensors.
      const small = (options.tuning?.chunkBytes ?? Infinity) < 100;
      const include = small ? ['t3', 't4'] : undefined;
      const chunks: Buffer[] = [];
      const sink = new Writable({
        write(chunk, _encoding, done) {
          chunks.push(chunk);
          done();
        },
      });
      const soup = await makeSoup('uniform', inputs, sink, { ...options, weights, include });
      const bytes = Buffer.concat(chunks);
      expect(soup.sha256).toBe(createHash('sha256').update(bytes).digest('hex'));
      const path = join(folder, 'out.safetensors');
      writeFileSync(path, bytes);
      digests.add(
        `${weights !== undefined} ${include !== undefined} ${await contentHash(await openCheckpoint(path))}`,
      );
      // One digest for each pair of weights and tensors so far, not one for each way of computing.
      const kinds = new Set([...digests].map((d) => d.split(' ').slice(0, 2).join()));
      expect(digests.size).toBe(kinds.size);
    });
  }
});

it('hashes are those of node:crypto, with and without the SHA instructions', async () => {
  const next = random(9);
  for (const n of [0, 1, 55, 56, 63, 64, 65, 1000, 300_000]) {
    const bytes = Uint8Array.from({ length: n }, () => Math.floor(next() * 256));
    const want = createHash('sha256').update(bytes).digest('hex');
    expect(native().sha256Plain(bytes)).toBe(want);
    const path = join(folder, 'bytes.safetensors');
    const header = safetensorsHeader([{ name: 'a', dtype: 'U8', shape: [n] }], {});
    writeFileSync(path, Buffer.concat([header, bytes]));
    const [hashes] = await fileHashes([await openCheckpoint(path)]);
    expect(hashes).toEqual([createHash('sha256').update(header).update(bytes).digest('hex')]);
  }
});

/** A sparse file: zeros, with a value here and there. */
function sparse(
  name: string,
  dtype: DType,
  elements: number,
  marks: readonly (readonly [number, number])[],
): string {
  const path = join(folder, name);
  const tensors = [
    { name: 'large', dtype, shape: [elements] },
    { name: 'last', dtype, shape: [3] },
  ];
  const header = safetensorsHeader(tensors, {});
  const fd = openSync(path, 'w');
  writeSync(fd, header);
  const { bytes } = format(dtype);
  ftruncateSync(fd, header.length + (elements + 3) * bytes);
  for (const [at, value] of marks) {
    writeSync(
      fd,
      encodeBits(dtype, [patternOf(dtype, value)]),
      0,
      bytes,
      header.length + at * bytes,
    );
  }
  closeSync(fd);
  return path;
}

/** Runs the built library in a process of its own; gives what it printed and its peak memory over Node's own. */
async function measured(
  code: string,
): Promise<{ result: Record<string, number[]>; grown: number }> {
  const entry = pathToFileURL(join(packageRoot, 'dist/index.js')).href;
  const script = `
    import { Writable } from 'node:stream';
    import { uniform } from ${JSON.stringify(entry)};
    const before = process.resourceUsage().maxRSS;
    const result = await (async () => { ${code} })();
    console.log(JSON.stringify({ result, grown: (process.resourceUsage().maxRSS - before) * 1024 }));`;
  const { stdout } = await run(process.execPath, ['--input-type=module', '-e', script]);
  return JSON.parse(stdout);
}

// Keeps the bytes at some places of the stream and counts the rest.
const watch = (places: readonly number[]) => `
  const places = ${JSON.stringify(places)};
  const seen = [];
  let at = 0;
  const sink = new Writable({ write(chunk, _e, done) {
    for (const p of places) if (p >= at && p < at + chunk.length) seen.push(chunk[p - at]);
    at += chunk.length;
    done();
  }});`;

it('behaviour 8: a tensor over 4 GiB, with little memory', async () => {
  const elements = 2_200_000_011; // 4.4 GB of bf16
  const marks = [
    [0, 1],
    [1_100_000_000, 2],
    [2_150_000_000, 3],
    [elements - 1, 4],
    [elements + 2, 6],
  ] as const;
  const a = sparse('a.safetensors', 'BF16', elements, marks);
  const b = sparse(
    'b.safetensors',
    'BF16',
    elements,
    marks.map(([at, v]) => [at, v * 3] as const),
  );
  // The output has the inputs' layout, with a record in the header; the marks' high bytes are looked for from its end.
  const fromEnd = marks.map(([at]) => (elements + 3 - at) * 2);
  const { result, grown } = await measured(`
    const probe = new Writable({ write(_c, _e, done) { done(); } });
    const dry = await uniform(${JSON.stringify([a, b])}, probe, { dryRun: true });
    const chunks = [];
    let total = 0;
    const fromEnd = ${JSON.stringify(fromEnd)};
    const data = dry.bytesWritten;
    let header = -1;
    const seen = [];
    const sink = new Writable({ write(chunk, _e, done) {
      if (header < 0) header = 8 + Number(chunk.readBigUInt64LE(0));
      for (const f of fromEnd) {
        for (const p of [header + data - f, header + data - f + 1]) {
          if (p >= total && p < total + chunk.length) seen.push(chunk[p - total]);
        }
      }
      total += chunk.length;
      done();
    }});
    const soup = await uniform(${JSON.stringify([a, b])}, sink);
    return { seen, counts: [total - header, soup.bytesRead] };`);
  const mean = marks.map(([, v]) => Number(patternOf('BF16', v * 2)));
  expect(result.seen).toEqual(mean.flatMap((m) => [m & 0xff, m >> 8]));
  expect(result.counts).toEqual([(elements + 3) * 2, (elements + 3) * 4]);
  expect(grown).toBeLessThan(256 * 2 ** 20);
});

it('72 inputs take no more memory than a few', async () => {
  const inputs = Array.from({ length: 72 }, (_, i) =>
    sparse(`k${i}.safetensors`, 'F32', 4_000_003, [[i, i + 1]]),
  );
  const code = (paths: string[]) => `${watch([])}
    await uniform(${JSON.stringify(paths)}, sink, { threads: 4 });
    return { counts: [at] };`;
  const many = await measured(code(inputs));
  const few = await measured(code(inputs.slice(0, 2)));
  expect(many.result.counts?.[0]).toBeGreaterThan(16_000_000);
  expect(many.grown).toBeLessThan(256 * 2 ** 20);
  expect(few.grown).toBeLessThan(256 * 2 ** 20);
});
