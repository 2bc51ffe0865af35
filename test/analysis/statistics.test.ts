// Intervals, tests and temperatures against numpy and scipy (fixtures/analysis/make.py), and against plainer code.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import {
  bootstrap,
  centredInterval,
  difference,
  intervalOf,
  mcnemar,
  meanOfDistributions,
  quantile,
} from '../../lib/analysis/bootstrap.js';
import { fitTemperature, reliability } from '../../lib/analysis/calibration.js';
import { Random } from '../../lib/analysis/random.js';
import { allMetrics, binOf, scoresOf } from '../../lib/evaluate/metrics.js';
import { flopsOf } from '../../lib/models/flops.js';
import { buildNetwork } from '../../lib/models/index.js';
import { root } from '../helpers/cli.js';
import { checkpointOf } from '../models/made_up.js';
import { numbers } from './made_up.js';

const expected = JSON.parse(
  readFileSync(join(root, 'test/fixtures/analysis/expected.json'), 'utf8'),
);

describe('random numbers', () => {
  /** xoshiro128** as its authors write it, in whole numbers of any size. */
  function* reference(seed: readonly number[]): Generator<number> {
    const bits = 32n;
    const mask = (1n << bits) - 1n;
    const rotate = (x: bigint, by: bigint) => ((x << by) | (x >> (bits - by))) & mask;
    let x = 0x9e3779b9n;
    const split = () => {
      x = (x + 0x9e3779b9n) & mask;
      let z = x ^ (x >> 16n);
      z = (z * 0x21f0aaadn) & mask;
      z ^= z >> 15n;
      z = (z * 0x735a2d97n) & mask;
      return z ^ (z >> 15n);
    };
    for (const part of seed) {
      x = split() ^ (BigInt(part) & mask);
      x = split() ^ (BigInt(part) >> bits);
    }
    const s = [split(), split(), split(), split()] as [bigint, bigint, bigint, bigint];
    for (;;) {
      yield Number((rotate((s[1] * 5n) & mask, 7n) * 9n) & mask);
      const t = (s[1] << 9n) & mask;
      s[2] ^= s[0];
      s[3] ^= s[1];
      s[1] ^= s[2];
      s[0] ^= s[3];
      s[2] ^= t;
      s[3] = rotate(s[3], 11n);
    }
  }

  it.each([[[0]], [[1, 2]], [[2 ** 40 + 5, 7, 3]]])(
    'are those of xoshiro128**: seed %j',
    (seed) => {
      const random = new Random(...seed);
      const other = reference(seed);
      for (let i = 0; i < 200; i++) expect(random.next()).toBe(other.next().value);
    },
  );

  it('are as likely, each', () => {
    const random = new Random(3);
    const n = 60_000;
    const seen = new Array(6).fill(0);
    for (let i = 0; i < n; i++) seen[random.below(6)]++;
    // Five standard deviations.
    for (const s of seen)
      expect(Math.abs(s - n / 6)).toBeLessThan(5 * Math.sqrt((n / 6) * (5 / 6)));
  });

  it('make permutations, every place as likely', () => {
    const random = new Random(5);
    const first = new Array(5).fill(0);
    for (let i = 0; i < 5000; i++) {
      const p = random.permutation(5);
      expect([...p].sort()).toEqual([0, 1, 2, 3, 4]);
      first[p[0] as number]++;
    }
    for (const f of first) expect(Math.abs(f - 1000)).toBeLessThan(5 * Math.sqrt(800));
  });
});

describe('the bootstrap', () => {
  const n = 40;
  const next = numbers(11);
  const a = Float64Array.from({ length: n }, () => (next() < 0.7 ? 1 : 0));
  const b = Float64Array.from({ length: n }, () => (next() < 0.6 ? 1 : 0));
  const gap = Float64Array.from({ length: n }, () => next() - 0.5);
  const bins = Uint8Array.from({ length: n }, () => Math.floor(4 * next()));
  const labels = Int32Array.from({ length: n }, (_, i) => i % 3);
  const options = { resamples: 400, seed: 1 };

  /** As one would write it with numpy: indices, rows, means. */
  function plain(seed: number, resamples: number) {
    let hash = 0x811c9dc5;
    for (const l of labels) hash = Math.imul(hash ^ l, 0x01000193);
    const random = new Random(seed, n, hash >>> 0);
    const means = { a: [] as number[], difference: [] as number[], error: [] as number[] };
    const mean = (x: number[]) => x.reduce((s, v) => s + v, 0) / x.length;
    for (let r = 0; r < resamples; r++) {
      const drawn = Array.from({ length: n }, () => random.below(n));
      means.a.push(mean(drawn.map((i) => a[i] as number)));
      means.difference.push(mean(drawn.map((i) => (a[i] as number) - (b[i] as number))));
      const sums = [0, 1, 2, 3].map((bin) =>
        drawn.filter((i) => bins[i] === bin).reduce((s, i) => s + (gap[i] as number), 0),
      );
      means.error.push(sums.reduce((s, v) => s + Math.abs(v), 0) / n);
    }
    return means;
  }

  it('is that of plain code with the same draws', async () => {
    const [x, y, e] = await bootstrap(
      [{ values: a }, { values: b }, { values: gap, bins }],
      labels,
      options,
    );
    if (!x || !y || !e) throw new Error('three statistics');
    const { a: means, difference: differences, error } = plain(1, 400);
    const close = (found: ArrayLike<number>, wanted: number[]) => {
      expect(found.length).toBe(wanted.length);
      wanted.forEach((w, i) => {
        expect(found[i]).toBeCloseTo(w, 12);
      });
    };
    close(x.resampled, means);
    close(difference(x, y).resampled, differences);
    close(e.resampled, error);
    expect(x.value).toBeCloseTo(a.reduce((s, v) => s + v, 0) / n, 14);
    const sorted = [...means].sort((p, q) => p - q);
    expect(intervalOf(x, 0.9)).toEqual({
      value: x.value,
      low: expect.closeTo(quantile(sorted, 0.05), 12),
      high: expect.closeTo(quantile(sorted, 0.95), 12),
    });
  });

  it('has the width of the normal interval for many examples', async () => {
    const many = 4000;
    const values = Float64Array.from({ length: many }, (_, i) => (i % 10 < 8 ? 1 : 0));
    const [d] = await bootstrap([{ values }], new Int32Array(many), { resamples: 2000, seed: 2 });
    const { value, low, high } = intervalOf(d as NonNullable<typeof d>, 0.95);
    const half = 1.96 * Math.sqrt((0.8 * 0.2) / many);
    expect(value).toBe(0.8);
    expect((value - low) / half).toBeCloseTo(1, 0);
    expect(Math.abs((high - low) / (2 * half) - 1)).toBeLessThan(0.1);
  });

  it('draws the same examples for sets of the same labels, others for others', async () => {
    const one = await bootstrap([{ values: a }], labels, options);
    const again = await bootstrap([{ values: a }], labels.slice(), options);
    const other = await bootstrap(
      [{ values: a }],
      labels.map((l) => l + 1),
      options,
    );
    const seeded = await bootstrap([{ values: a }], labels, { ...options, seed: 2 });
    expect(again).toEqual(one);
    expect(other).not.toEqual(one);
    expect(seeded).not.toEqual(one);
  });

  it('centres what resampling makes larger', () => {
    const resampled = Float64Array.from({ length: 101 }, (_, i) => 0.1 + i / 1000);
    const c = centredInterval({ value: 0.05, resampled }, 0.95);
    expect((c.low + c.high) / 2).toBeCloseTo(0.05, 12);
    expect(centredInterval({ value: 0.01, resampled }, 0.95).low).toBe(0);
  });

  it('takes means over sets resample by resample', () => {
    const d = (value: number, resampled: number[]) => ({
      value,
      resampled: Float64Array.from(resampled),
    });
    expect(meanOfDistributions([d(1, [1, 2, 3]), d(3, [5, 6, 9])])).toEqual(d(2, [3, 4, 6]));
  });

  it('stops when it is told to', async () => {
    const stop = new AbortController();
    const running = bootstrap([{ values: new Float64Array(50_000) }], new Int32Array(50_000), {
      resamples: 100_000,
      seed: 0,
      signal: stop.signal,
    });
    setTimeout(() => stop.abort(), 30);
    await expect(running).rejects.toMatchObject({ code: 'ABORTED' });
  });
});

it('quantiles are those of numpy', () => {
  const { sample, at } = expected.quantiles;
  for (const [q, value] of Object.entries(at))
    expect(quantile(sample, Number(q))).toBeCloseTo(value as number, 14);
});

it.each(expected.mcnemar as [number, number, number][])(
  "McNemar's exact test of %i and %i is scipy's binomial test",
  (better, worse, p) => {
    expect(mcnemar(better, worse)).toBeCloseTo(p, 10);
  },
);

describe('calibration', () => {
  it.each(expected.cases.map((_: unknown, i: number) => i) as number[])(
    'temperature, losses, errors and bins of numpy and scipy: case %i',
    (i) => {
      const c = expected.cases[i];
      const logits = Float32Array.from(c.logits);
      const labels = Int32Array.from(c.labels);
      const beta = fitTemperature(logits, labels) as number;
      expect(beta).toBeCloseTo(c.beta, 5);
      const before = allMetrics(logits, labels);
      const after = allMetrics(logits, labels, beta);
      expect(before.loss).toBeCloseTo(c.lossBefore, 12);
      expect(after.loss).toBeCloseTo(c.lossAfter, 10);
      expect(after.loss).toBeLessThanOrEqual(before.loss);
      expect(before.ece).toBeCloseTo(c.eceBefore, 12);
      expect(after.ece).toBeCloseTo(c.eceAfter, 5);
      const bins = reliability(scoresOf(logits, labels), labels);
      bins.forEach((bin, b) => {
        const [count, confidence, accuracy] = c.bins[b];
        expect(bin.n).toBe(count);
        if (count === 0) expect([bin.confidence, bin.accuracy]).toEqual([null, null]);
        else {
          expect(bin.confidence).toBeCloseTo(confidence, 12);
          expect(bin.accuracy).toBeCloseTo(accuracy, 12);
        }
      });
      const ece = bins.reduce(
        (sum, { n, confidence, accuracy }) =>
          sum + (n / labels.length) * Math.abs((confidence ?? 0) - (accuracy ?? 0)),
        0,
      );
      expect(ece).toBeCloseTo(before.ece, 12);
    },
  );

  it('puts an edge into the bin below it', () => {
    for (let b = 1; b <= 15; b++) expect(binOf(b / 15)).toBe(b - 1);
    expect(binOf(0)).toBe(0);
    expect(binOf(1 / 15 + 1e-12)).toBe(1);
  });

  it('says where the data does not decide, or decides nothing', () => {
    expect(fitTemperature(Float32Array.of(1, 0, 0, 1), Int32Array.of(0, 1))).toBe(100);
    expect(fitTemperature(Float32Array.of(1, 0, 0, 1), Int32Array.of(1, 0))).toBe(0.01);
    expect(fitTemperature(Float32Array.of(1, Number.NaN), Int32Array.of(0))).toBeNull();
  });
});

describe('floating-point operations of a prediction', () => {
  /** As transformers names them. */
  function vit(T: number, D: number, L: number, M: number, patch: number, classes: number) {
    const block = (i: number) => {
      const p = `vit.encoder.layer.${i}`;
      const linear = (name: string, out: number, into: number) => ({
        [`${p}.${name}.weight`]: [out, into],
        [`${p}.${name}.bias`]: [out],
      });
      return {
        ...linear('attention.attention.query', D, D),
        ...linear('attention.attention.key', D, D),
        ...linear('attention.attention.value', D, D),
        ...linear('attention.output.dense', D, D),
        ...linear('intermediate.dense', M, D),
        ...linear('output.dense', D, M),
        [`${p}.layernorm_before.weight`]: [D],
        [`${p}.layernorm_before.bias`]: [D],
        [`${p}.layernorm_after.weight`]: [D],
        [`${p}.layernorm_after.bias`]: [D],
      };
    };
    const shapes: Record<string, number[]> = {
      'vit.embeddings.cls_token': [1, 1, D],
      'vit.embeddings.position_embeddings': [1, T, D],
      'vit.embeddings.patch_embeddings.projection.weight': [D, 3, patch, patch],
      'vit.embeddings.patch_embeddings.projection.bias': [D],
      ...Object.assign({}, ...Array.from({ length: L }, (_, i) => block(i))),
      'vit.layernorm.weight': [D],
      'vit.layernorm.bias': [D],
      'classifier.weight': [classes, D],
      'classifier.bias': [classes],
    };
    return new Map(Object.entries(shapes).map(([name, shape]) => [name, { shape }]));
  }

  it.each([
    ['ViT-B/32', 224, 32, 768, 12, 3072, 12, 8.82],
    ['ViT-B/16', 224, 16, 768, 12, 3072, 12, 35.1],
    ['ViT-L/14', 224, 14, 1024, 24, 4096, 16, 162],
  ])('%s', (_, size, patch, D, L, M, heads, published) => {
    const patches = (size / patch) ** 2;
    const T = patches + 1;
    const config = {
      model_type: 'vit',
      architectures: ['ViTForImageClassification'],
      hidden_size: D,
      num_hidden_layers: L,
      num_attention_heads: heads,
      intermediate_size: M,
      image_size: size,
      patch_size: patch,
      num_channels: 3,
      hidden_act: 'gelu',
      layer_norm_eps: 1e-12,
      qkv_bias: true,
    };
    const network = buildNetwork(checkpointOf(vit(T, D, L, M, patch, 1000)), config);
    const blocks = 2 * T * L * (4 * D * D + 2 * D * M) + 4 * T * T * D * L;
    const patchwork = 2 * patches * 3 * patch * patch * D;
    const flops = flopsOf(network.graph);
    expect(flops).toBe(blocks + patchwork + 2 * D * 1000);
    expect(Math.abs(flops / 1e9 / published - 1)).toBeLessThan(0.005);
  });
});
