// Tables that TypeScript never makes, which fuzzing of the addon got through its checks (docs/security-testing.md).
import { closeSync, mkdtempSync, openSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { dtypeIndex } from '../../lib/checkpoint/dtype.js';
import type { Graph, Op } from '../../lib/models/graph.js';
import { type MergeTable, native, OP } from '../../lib/native.js';

let folder = '';
let file = -1;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'stockpot-tables-'));
  writeFileSync(join(folder, 'data'), Buffer.alloc(64));
  file = openSync(join(folder, 'data'), 'r');
});
afterAll(() => {
  closeSync(file);
  rmSync(folder, { recursive: true });
});

describe('a merge', () => {
  /** Two tensors of eight float32 in a file that is hashed on the way, at these places. */
  const merge = (offsets: number[], hashed = true): MergeTable => ({
    files: Float64Array.of(file),
    sourceFile: Float64Array.of(0, 0),
    sourceDtype: Float64Array.of(dtypeIndex('F32'), dtypeIndex('F32')),
    sourceOffset: Float64Array.from(offsets),
    sourceView: Float64Array.of(-1, -1),
    views: [],
    k: 1,
    threads: 2,
    memory: 2 ** 20,
    chunkBytes: 0,
    variant: '',
    sink: 'discard',
    weights: new Float64Array(),
    outputs: [{ fd: -1, prefix: new Uint8Array(), offset: 0 }],
    hashPrefix: Float64Array.of(hashed ? 0 : -1),
    op: Float64Array.of(OP.mean, OP.mean),
    outDtype: Float64Array.of(dtypeIndex('F32'), dtypeIndex('F32')),
    elements: Float64Array.of(8, 8),
    output: Float64Array.of(0, 0),
    weightSet: Float64Array.of(-1, -1),
  });

  it('hashes files whose tensors are read in their order only: another would wait for ever', async () => {
    expect((await native().merge(merge([0, 32])).promise).inputSha256[0]).toMatch(/^[0-9a-f]{64}$/);
    await native().merge(merge([32, 0], false)).promise;
    for (const offsets of [
      [32, 0],
      [0, 0],
      [0, 24],
    ])
      expect(() => native().merge(merge(offsets))).toThrow(/hashPrefix is for files whose/);
  });
});

describe('a network', () => {
  const image = (channels: number, height: number, width: number): Op => ({
    op: 'patches',
    input: 0,
    channels,
    height,
    width,
    patch: 1,
    out: 0,
  });

  const pixels = (...shape: number[]) => ({
    name: 'pixel_values',
    dtype: 'f32' as const,
    shape,
    shared: false,
  });
  const fits = (one: Partial<Graph>): number => {
    const graph = { inputs: [], weights: [], values: [], ops: [], output: 0, ...one };
    return native().planNetwork(graph, 1, 1).bytes;
  };

  it('has sizes whose products are numbers', () => {
    const mean: Op = { op: 'mean_rows', x: 0, from: 0, out: 1 };
    const of = (height: number, width: number, rows: number) => ({
      inputs: [pixels(1, height, width)],
      values: [
        { rows, columns: 1 },
        { rows: 1, columns: 1 },
      ],
      ops: [image(1, height, width), mean],
      output: 1,
    });
    expect(fits(of(4, 4, 16))).toBeGreaterThan(0);
    // 2^39 · (2^25 + 1) is 2^39 in 64 bits.
    expect(() => fits(of(2 ** 39, 2 ** 25 + 1, 2 ** 39))).toThrow(/size/);
  });

  it('reads rows that its table has', () => {
    const columns = 2 ** 30;
    const two = {
      inputs: [pixels(columns, 1, 1)],
      values: [
        { rows: 1, columns },
        { rows: 1, columns },
      ],
      weights: [{ name: 'positions', shape: [1, columns] }],
      output: 1,
    };
    const add = (first: number): Op => ({ op: 'add_rows', x: 0, table: 0, first, out: 1 });
    expect(fits({ ...two, ops: [image(columns, 1, 1), add(0)] })).toBeGreaterThan(0);
    // Rows from 2^34 on begin at 2^64, which is 0 in 64 bits.
    for (const first of [1, 2 ** 34])
      expect(() => fits({ ...two, ops: [image(columns, 1, 1), add(first)] })).toThrow(/add_rows/);
  });

  it('has buckets of relative positions that are integers', () => {
    const one = { inputs: [pixels(8, 1, 1)], weights: [{ name: 'bias', shape: [2, 1] }] };
    const values = [
      { rows: 1, columns: 8 },
      { rows: 1, columns: 8 },
    ];
    const attention = (bucket: number): Op => ({
      op: 'attention',
      q: 0,
      k: 0,
      v: 0,
      q_column: 0,
      k_column: 0,
      v_column: 0,
      heads: 1,
      width: 8,
      scale: 1,
      groups: 1,
      shared_kv: false,
      causal: false,
      bias: { table: 0, buckets: [bucket] },
      out: 1,
    });
    const graph = (bucket: number) => ({
      ...one,
      values,
      output: 1,
      ops: [image(8, 1, 1), attention(bucket)],
    });
    expect(fits(graph(1))).toBeGreaterThan(0);
    expect(() => fits(graph(2))).toThrow(/attention's buckets/);
    for (const bucket of [-1, 2 ** 31, 2 ** 32, 1e300, Number.NaN])
      expect(() => fits(graph(bucket))).toThrow(/buckets are out of range/);
  });
});

describe('a scaled image', () => {
  const taps = (length: number) => ({
    start: Int32Array.of(0),
    length: Int32Array.of(length),
    weights: Int32Array.of(1 << 22),
    width: 1,
  });
  const scale = (length: number) =>
    native().resample({
      sourceWidth: 1,
      sourceHeight: 1,
      rgb: Uint8Array.of(1, 2, 3),
      columns: taps(1),
      rows: taps(length),
      width: 1,
      height: 1,
      left: 0,
      top: 0,
      planes: new Uint8Array(3),
      variant: '',
    });

  it('is made of one pixel at least', async () => {
    await scale(1).promise;
    for (const length of [0, -1, 2]) expect(() => scale(length)).toThrow(/taps/);
  });
});
