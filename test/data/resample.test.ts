import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type Filter, taps } from '../../lib/data/filters.js';
import { place } from '../../lib/data/preparation.js';
import { resample } from '../../lib/data/resample.js';
import { native, type ResampleTable } from '../../lib/native.js';
import { failure } from '../helpers/errors.js';
import { resampled } from './resample_reference.js';

const FILTERS: Filter[] = ['nearest', 'box', 'bilinear', 'hamming', 'bicubic', 'lanczos'];
const filter = fc.constantFrom(...FILTERS);
const edge = fc.integer({ min: 1, max: 24 });

const image = (width: number, height: number, byte: (i: number) => number) => ({
  width,
  height,
  data: Uint8Array.from({ length: width * height * 3 }, (_, i) => byte(i)),
});
const black = [0, 0, 0];

describe('resampling', () => {
  it('keeps an image whose size does not change, and a colour at any size', async () => {
    await fc.assert(
      fc.asyncProperty(filter, edge, edge, edge, edge, async (f, w, h, w2, h2) => {
        const source = image(w, h, (i) => (i * 37) % 256);
        const same = await resample(source, { width: w, height: h, left: 0, top: 0 }, f, {
          width: w,
          height: h,
          fill: black,
        });
        expect([...same]).toEqual(
          [0, 1, 2].flatMap((c) => Array.from({ length: w * h }, (_, i) => source.data[i * 3 + c])),
        );
        const flat = await resample(
          image(w, h, (i) => 50 + 60 * (i % 3)),
          { width: w2, height: h2, left: 0, top: 0 },
          f,
          { width: w2, height: h2, fill: black },
        );
        flat.forEach((v, i) => {
          expect(v).toBe(50 + 60 * Math.floor(i / (w2 * h2)));
        });
      }),
      { numRuns: 60 },
    );
  });

  it('computes a window as it would be cut out of the whole', async () => {
    await fc.assert(
      fc.asyncProperty(
        filter,
        fc.tuple(edge, edge, edge, edge, edge, edge),
        fc.integer({ min: -9, max: 20 }),
        fc.integer({ min: -9, max: 20 }),
        async (f, [w, h, w2, h2, ow, oh], left, top) => {
          const source = image(w, h, (i) => (i * 101) % 256);
          const whole = await resample(source, { width: w2, height: h2, left: 0, top: 0 }, f, {
            width: w2,
            height: h2,
            fill: black,
          });
          const fill = [1, 2, 3];
          const part = await resample(source, { width: w2, height: h2, left, top }, f, {
            width: ow,
            height: oh,
            fill,
          });
          for (let c = 0; c < 3; c++)
            for (let y = 0; y < oh; y++)
              for (let x = 0; x < ow; x++) {
                const [sx, sy] = [x + left, y + top];
                const inside = sx >= 0 && sx < w2 && sy >= 0 && sy < h2;
                expect(part[(c * oh + y) * ow + x]).toBe(
                  inside ? whole[(c * h2 + sy) * w2 + sx] : fill[c],
                );
              }
        },
      ),
      { numRuns: 60 },
    );
  });

  const variants = [
    'plain',
    ...native()
      .variants()
      .filter((v) => v === 'avx2'),
  ];
  it.for(variants)('%s: every byte is that of a plain reference', async (variant) => {
    const size = fc.integer({ min: 1, max: 40 });
    const offset = fc.integer({ min: -9, max: 30 });
    await fc.assert(
      fc.asyncProperty(
        filter,
        fc.tuple(size, size, size, size, size, size),
        fc.tuple(offset, offset),
        fc.infiniteStream(fc.constantFrom(0, 255, 1, 254, 128, 37, 200)),
        async (f, [w, h, w2, h2, ow, oh], [left, top], bytes) => {
          const source = image(w, h, () => bytes.next().value);
          const placement = { width: w2, height: h2, left, top };
          const out = { width: ow, height: oh, fill: [9, 8, 7] };
          const made = await resample(source, placement, f, out, { variant });
          expect([...made]).toEqual(resampled(source, placement, f, out));
        },
      ),
      { numRuns: 60 },
    );
  });

  it('runs off the event loop, several at once, and stops when told to', async () => {
    const large = image(900, 700, (i) => i % 251);
    const out = { width: 300, height: 300, fill: black };
    const placement = { width: 320, height: 320, left: 10, top: 10 };
    const all = await Promise.all(
      Array.from({ length: 6 }, () => resample(large, placement, 'lanczos', out)),
    );
    for (const one of all) expect(one).toEqual(all[0]);
    const stop = new AbortController();
    const call = resample(large, placement, 'lanczos', out, { signal: stop.signal });
    stop.abort();
    await failure(call, 'ABORTED');
  });

  it('refuses tables that reach beside the images', () => {
    const table = (): ResampleTable => ({
      sourceWidth: 4,
      sourceHeight: 3,
      rgb: new Uint8Array(36),
      columns: taps('bilinear', 4, 2, 0, 2),
      rows: taps('bilinear', 3, 2, 0, 2),
      width: 3,
      height: 2,
      left: 1,
      top: 0,
      planes: new Uint8Array(18),
      variant: '',
    });
    const call = (change: Partial<ResampleTable>) => native().resample({ ...table(), ...change });
    const refused: Partial<ResampleTable>[] = [
      { left: 2 },
      { left: -1 },
      { top: 1 },
      { sourceWidth: 3, rgb: new Uint8Array(27) },
      { sourceHeight: 0 },
      { rgb: new Uint8Array(35) },
      { planes: new Uint8Array(17) },
      { columns: { ...table().columns, start: Int32Array.of(0, -1) } },
      { columns: { ...table().columns, length: Int32Array.of(2, 9) } },
      { columns: { ...table().columns, width: 7 } },
      { rows: { ...table().rows, weights: new Int32Array(1) } },
      { rows: {} as ResampleTable['rows'] },
      { variant: 'none' },
    ];
    for (const change of refused)
      expect(() => call(change), JSON.stringify(change)).toThrow(TypeError);
    expect(() => native().resample(undefined as never)).toThrow(TypeError);
  });

  it('has weights that add up to one, inside the image', () => {
    fc.assert(
      fc.property(filter, fc.integer({ min: 1, max: 300 }), edge, (f, input, output) => {
        const t = taps(f, input, output, 0, output);
        for (let i = 0; i < output; i++) {
          const n = t.length[i] as number;
          const start = t.start[i] as number;
          expect(start).toBeGreaterThanOrEqual(0);
          expect(start + n).toBeLessThanOrEqual(input);
          const sum = t.weights.subarray(i * t.width, i * t.width + n).reduce((a, b) => a + b, 0);
          expect(Math.abs(sum - 2 ** 22)).toBeLessThanOrEqual(n);
        }
      }),
    );
  });

  it('places windows in the middle as the libraries round', () => {
    const common = {
      file: '',
      filter: 'bilinear' as const,
      fill: black,
      orient: false,
      onWhite: false,
      asIs: false,
      table: new Float32Array(768),
    };
    const p = (halves: 'down' | 'even', size: number) => ({
      ...common,
      resize: null,
      width: size,
      height: size,
      halves,
    });
    // Offsets 1.5 and 2.5: rounded down, or to the even neighbour (Python's round).
    expect(place(p('down', 5), 8, 10)).toMatchObject({ left: 1, top: 2 });
    expect(place(p('even', 5), 8, 10)).toMatchObject({ left: 2, top: 2 });
    expect(place(p('even', 9), 8, 6)).toMatchObject({ left: 0, top: -1 });
  });
});
