// Corruptions against the libraries that ImageNet-C's authors used (test/fixtures/shift/make.py), and whole sets: the
// same layout, the same bytes whatever the threads, nothing half-written.
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { decodeImage } from '../../lib/data/decode.js';
import { imageFolder } from '../../lib/data/folder.js';
import type { RgbImage } from '../../lib/data/resample.js';
import { shards } from '../../lib/data/shards.js';
import { corrupt } from '../../lib/data/shift/corrupt.js';
import { disk, mirrored } from '../../lib/data/shift/defocus.js';
import { KINDS, type Kind, strengthsFor } from '../../lib/data/shift/parameters.js';
import { Normal } from '../../lib/data/shift/random.js';
import { type ShiftOptions, shift } from '../../lib/data/shift/shift.js';
import { json, root, stockpot } from '../helpers/cli.js';
import { failure } from '../helpers/errors.js';
import { listing, useFolder } from '../helpers/folder.js';
import { put, readBack } from '../helpers/safetensors.js';

const at = useFolder();
const digits = join(root, 'examples/digits');
const fixture = join(root, 'test/fixtures/shift/expected.safetensors');

/** Decoded, as plain bytes. */
async function open(file: Buffer): Promise<RgbImage> {
  const image = await decodeImage(file, { orient: true, onWhite: false });
  return { ...image, data: new Uint8Array(image.data) };
}

/** How two images differ: the largest difference of a sample, and the share of samples that differ. */
function difference(a: Uint8Array, b: Uint8Array): { largest: number; share: number } {
  expect(a.length).toBe(b.length);
  const apart = Array.from(a, (x, i) => Math.abs(x - (b[i] as number)));
  return { largest: Math.max(...apart), share: apart.filter((d) => d > 0).length / a.length };
}

async function pictures(): Promise<{ image: RgbImage; expected: Map<string, Uint8Array> }> {
  const { tensors } = await readBack(fixture);
  const shape = tensors.get('image')?.shape as number[];
  const expected = new Map([...tensors].map(([name, t]) => [name, new Uint8Array(t.bytes)]));
  const data = expected.get('image') as Uint8Array;
  return { image: { data, width: shape[1] as number, height: shape[0] as number }, expected };
}

describe("corruptions are those of ImageNet-C's and CIFAR-10-C's libraries", () => {
  // Values are cut to bytes, so where one is a whole number, its last bit decides on a level: a mean of 29 bytes (a disk
  // of radius 3) is one in 1 of 29 cases, a colour whose value is 1 already in all. Else everything is equal.
  const LIMITS = { defocus_blur: 0.05, contrast: 0, brightness: 0.025, pixelate: 0 } as const;
  it.each(
    (['imagenet', 'cifar'] as const).flatMap((s) =>
      (Object.keys(LIMITS) as (keyof typeof LIMITS)[]).map((kind) => [s, kind] as const),
    ),
  )('%s %s', async (strengths, kind) => {
    const { image, expected } = await pictures();
    for (let severity = 1; severity <= 5; severity++) {
      const made = await corrupt(image, { kind, severity, strengths }, '');
      const want = expected.get(`${strengths}.${kind}.${severity}`) as Uint8Array;
      const { largest, share } = difference(made.data, want);
      expect(largest).toBeLessThanOrEqual(1);
      expect(share).toBeLessThanOrEqual(LIMITS[kind]);
      expect(difference(image.data, want).share).toBeGreaterThan(0.05);
    }
  });

  it('noise: normal, of the deviation, independent samples', async () => {
    const n = 60_000;
    const normal = new Normal('a seed');
    const drawn = Array.from({ length: n }, () => normal.next());
    const moment = (p: number) => drawn.reduce((sum, x) => sum + x ** p, 0) / n;
    // Five standard errors of each moment.
    expect(Math.abs(moment(1))).toBeLessThan(5 / Math.sqrt(n));
    expect(Math.abs(moment(2) - 1)).toBeLessThan(5 * Math.sqrt(2 / n));
    expect(Math.abs(moment(3))).toBeLessThan(5 * Math.sqrt(15 / n));
    expect(Math.abs(moment(4) - 3)).toBeLessThan(5 * Math.sqrt(96 / n));
    for (const lag of [1, 2, 3]) {
      const together = drawn.slice(lag).reduce((sum, x, i) => sum + x * (drawn[i] as number), 0);
      expect(Math.abs(together / n)).toBeLessThan(5 / Math.sqrt(n));
    }
    const grey = { data: new Uint8Array(30_000).fill(128), width: 100, height: 100 };
    const how = { kind: 'gaussian_noise', severity: 2, strengths: 'cifar' } as const;
    const noisy = await corrupt(grey, how, 'x');
    const apart = Array.from(noisy.data, (x) => x + 0.5 - 128);
    const deviation = Math.sqrt(apart.reduce((sum, x) => sum + x * x, 0) / apart.length);
    expect(deviation / 255).toBeGreaterThan(0.06 * 0.97);
    expect(deviation / 255).toBeLessThan(0.06 * 1.03);
    const again = await corrupt(grey, how, 'x');
    expect(again.data).toEqual(noisy.data);
    expect((await corrupt(grey, how, 'y')).data).not.toEqual(noisy.data);
  });

  it('a flat image: blur, pixels and the mean change nothing', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.record({
          width: fc.integer({ min: 1, max: 30 }),
          height: fc.integer({ min: 1, max: 30 }),
          level: fc.integer({ min: 0, max: 255 }),
          // ImageNet-C's larger disks brighten a little: see disk().
          severity: fc.integer({ min: 1, max: 3 }),
          strengths: fc.constantFrom('imagenet' as const, 'cifar' as const),
          kind: fc.constantFrom('defocus_blur' as const, 'pixelate' as const),
        }),
        async ({ width, height, level, severity, strengths, kind }) => {
          const data = new Uint8Array(3 * width * height).fill(level);
          const made = await corrupt({ data, width, height }, { kind, severity, strengths }, '');
          expect(made).toEqual({ data, width, height });
        },
      ),
      { numRuns: 60 },
    );
  });

  it('disks that fit their kernel sum to 1; edges are mirrored without repeating them', () => {
    for (const [radius, deviation] of [
      [0.3, 0.4],
      [3, 0.1],
      [6, 0.5],
    ] as const) {
      const { size, weights } = disk(radius, deviation);
      expect(size).toBe(17);
      expect(weights.reduce((a, b) => a + b, 0)).toBeCloseTo(1, 12);
    }
    expect(disk(10, 0.5).size).toBe(21);
    expect([-3, -2, -1, 0, 3, 4, 5, 7].map((i) => mirrored(i, 4))).toEqual([
      3, 2, 1, 0, 3, 2, 1, 1,
    ]);
    expect(mirrored(-5, 1)).toBe(0);
    expect(strengthsFor(63, 500)).toBe('cifar');
    expect(strengthsFor(64, 64)).toBe('imagenet');
  });
});

/** A folder of two classes, from the digits, and one class without images. */
async function smallFolder(name: string): Promise<string> {
  for (const digit of ['3', '7']) {
    const names = (await readdir(join(digits, 'heldout', digit))).sort().slice(0, 4);
    for (const n of names)
      await put(at(name, digit, n), await readFile(join(digits, 'heldout', digit, n)));
  }
  await put(at(name, '1', 'notes.txt'), 'no image');
  return at(name);
}

const options = (more: Partial<ShiftOptions> = {}): ShiftOptions => ({
  kind: 'gaussian_noise',
  severity: 3,
  ...more,
});

/** Every image of a set, decoded, by its name. */
async function decoded(folder: string): Promise<Map<string, RgbImage>> {
  const out = new Map<string, RgbImage>();
  for await (const e of (await imageFolder(folder)).examples())
    if (!('problem' in e)) out.set(e.file.slice(folder.length + 1), await open(await e.load()));
  return out;
}

describe('sets', () => {
  it('a folder: the same classes and names, each image corrupted; whatever the threads', async () => {
    const from = await smallFolder('in');
    const made = await shift(from, at('out'), options({ threads: 1 }));
    expect(made).toMatchObject({ images: 8, strengths: { imagenet: 0, cifar: 8 }, seed: 0 });
    expect(await listing(at('out'))).toEqual(['1', '3', '7', 'shift.json']);
    const [before, after] = [await decoded(from), await decoded(at('out'))];
    expect([...after.keys()]).toEqual([...before.keys()]);
    for (const [name, image] of before) {
      const how = { kind: 'gaussian_noise', severity: 3, strengths: 'cifar' } as const;
      expect(after.get(name)).toEqual(await corrupt(image, how, `0\ngaussian_noise\n${name}`));
      expect(after.get(name)).not.toEqual(image);
    }
    await shift(from, at('out7'), options({ threads: 7 }));
    for (const name of after.keys())
      expect(await readFile(at('out7', name))).toEqual(await readFile(at('out', name)));
    await shift(from, at('seeded'), options({ seed: 5 }));
    expect(await decoded(at('seeded'))).not.toEqual(after);
  });

  it('a shard: the same examples and labels; the same bytes whatever the threads', async () => {
    const tar = join(digits, 'test.tar');
    await shift(tar, at('a.tar'), options({ kind: 'contrast', threads: 1 }));
    await shift([tar], at('b.tar'), options({ kind: 'contrast', threads: 5 }));
    expect(await readFile(at('a.tar'))).toEqual(await readFile(at('b.tar')));
    const read = async (path: string) => {
      const out: { name: string; label: number; bytes: Buffer }[] = [];
      for await (const e of (await shards([path])).examples()) {
        if ('problem' in e) throw new Error(e.problem);
        out.push({ name: e.file.split(':')[1] as string, label: e.label, bytes: await e.load() });
      }
      return out;
    };
    const [before, after] = [await read(tar), await read(at('a.tar'))];
    expect(after.map((e) => [e.name, e.label])).toEqual(before.map((e) => [e.name, e.label]));
    const [first, made] = [before[9], after[9]];
    const image = await open(first?.bytes as Buffer);
    const how = { kind: 'contrast', severity: 3, strengths: 'cifar' } as const;
    expect(await open(made?.bytes as Buffer)).toEqual(await corrupt(image, how, ''));
    await shift(tar, at('shards'), options({ kind: 'contrast' }));
    expect(await listing(at('shards'))).toEqual(['shift.json', 'test.tar']);
    expect(await readFile(at('shards', 'test.tar'))).toEqual(await readFile(at('a.tar')));
  });

  it("jpeg: files of Pillow's quality, to the level that decoders differ in", async () => {
    const { image, expected } = await pictures();
    const { default: sharp } = await import('sharp');
    const { data, width, height } = image;
    const png = await sharp(data, { raw: { width, height, channels: 3 } })
      .png()
      .toBuffer();
    await put(at('jpeg', 'class', 'a.png'), png);
    for (const strengths of ['imagenet', 'cifar'] as const) {
      for (let severity = 1; severity <= 5; severity++) {
        const out = at(`jpeg-${strengths}-${severity}`);
        await shift(at('jpeg'), out, { kind: 'jpeg', severity, strengths });
        const file = await readFile(join(out, 'class', 'a.jpg'));
        const made = await open(file);
        const want = expected.get(`${strengths}.jpeg.${severity}`) as Uint8Array;
        expect(difference(made.data, want).largest).toBeLessThanOrEqual(2);
      }
    }
  });

  it('two images whose names differ in the extension stay two', async () => {
    const png = await readFile(join(root, 'test/fixtures/images/small.png'));
    const jpg = await readFile(join(root, 'test/fixtures/images/digit.jpg'));
    await put(at('twins', 'c', 'a.jpg'), jpg);
    await put(at('twins', 'c', 'a.png'), png);
    await shift(at('twins'), at('twins-out'), options({ kind: 'brightness' }));
    expect(await listing(at('twins-out', 'c'))).toEqual(['a.png', 'a.png.png']);
  });

  it('an image that does not decode is an error that names it, or is left out', async () => {
    const from = await smallFolder('bad');
    await put(at('bad', '7', 'zz.png'), Buffer.from('\x89PNG no more'));
    const error = await failure(shift(from, at('bad-out'), options()), 'FORMAT');
    expect(error.message).toContain(at('bad', '7', 'zz.png'));
    expect(await listing(at())).not.toContain('bad-out');
    expect((await listing(at())).filter((n) => n.includes('partial'))).toEqual([]);
    const made = await shift(from, at('bad-out'), options({ skipBad: true }));
    expect(made).toMatchObject({ images: 8, skipped: [{ file: at('bad', '7', 'zz.png') }] });
  });

  it('outputs: never over an input or a folder of other images; --overwrite replaces its own', async () => {
    const from = await smallFolder('own');
    await failure(shift(from, from, options({ overwrite: true })), 'OUTPUT');
    await failure(shift(from, at('own', 'x.tar'), options()), 'USAGE');
    await failure(
      shift(join(digits, 'test.tar'), join(digits, 'test.tar'), options({ overwrite: true })),
      'OUTPUT',
    );
    const other = await smallFolder('other');
    await failure(shift(from, other, options({ overwrite: true })), 'OUTPUT');
    await shift(from, at('mine'), options());
    await failure(shift(from, at('mine'), options()), 'OUTPUT');
    await shift(from, at('mine'), options({ kind: 'jpeg', overwrite: true }));
    expect((await listing(at('mine', '3')))[0]).toMatch(/\.jpg$/);
  });

  it('a dry run counts, checks the output, and writes nothing', async () => {
    const from = await smallFolder('planned');
    const plan = await shift(from, at('not-there'), options({ dryRun: true }));
    expect(plan).toMatchObject({ images: 8, dryRun: true, strengths: { imagenet: 0, cifar: 0 } });
    const tar = await shift(join(digits, 'test.tar'), at('no.tar'), options({ dryRun: true }));
    expect(tar.images).toBe(450);
    expect((await listing(at())).filter((n) => /not-there|no\.tar/.test(n))).toEqual([]);
    await failure(shift(from, from, options({ dryRun: true })), 'OUTPUT');
  });

  it('abort ends it and leaves nothing', async () => {
    const stop = new AbortController();
    const run = shift(join(digits, 'heldout'), at('aborted'), {
      ...options(),
      signal: stop.signal,
      onProgress: () => stop.abort(),
    });
    await failure(run, 'ABORTED');
    const tar = shift(join(digits, 'test.tar'), at('aborted.tar'), {
      ...options(),
      signal: AbortSignal.abort(),
    });
    await failure(tar, 'ABORTED');
    expect((await listing(at())).filter((n) => n.includes('aborted'))).toEqual([]);
  });

  it('a damaged archive, an empty folder, text files', async () => {
    const tar = await readFile(join(digits, 'test.tar'));
    const cut = await put(at('cut.tar'), tar.subarray(0, 5000));
    await failure(shift(cut, at('cut-out.tar'), options()), 'FORMAT');
    await put(at('empty', 'notes.txt'), '');
    await failure(shift(at('empty'), at('empty-out'), options()), 'FORMAT');
    await failure(
      shift(await put(at('a.csv'), 'text,label'), at('csv-out'), options()),
      'UNSUPPORTED',
    );
    await failure(shift(at('nowhere'), at('nowhere-out'), options()), 'NOT_FOUND');
    expect(
      (await listing(at())).filter((n) => /(cut|empty|csv|nowhere)-out|partial/.test(n)),
    ).toEqual([]);
  });

  it.each([
    { kind: 'fog' as Kind },
    { severity: 0 },
    { severity: 2.5 },
    { seed: 0.5 },
    { strengths: 'other' as 'auto' },
  ])('refuses %j', async (wrong) => {
    await failure(shift(digits, at('wrong'), options(wrong)), 'USAGE');
  });
});

describe('the command', () => {
  it('writes a set that evaluate reads, and says what it did', async () => {
    const args = ['shift', join(digits, 'test.tar'), '--kind', 'defocus_blur', '--severity', '4'];
    const { code, out } = await json([...args, '-o', at('cli.tar')]);
    expect(code).toBe(0);
    expect(out).toMatchObject({ kind: 'defocus_blur', severity: 4, images: 450, seed: 0 });
    const measured = await json(['evaluate', join(digits, 'base'), '--data', at('cli.tar')]);
    expect(measured.out.models[0].n).toBe(450);
    const clean = await json([
      'evaluate',
      join(digits, 'base'),
      '--data',
      join(digits, 'test.tar'),
    ]);
    expect(measured.out.models[0].accuracy).toBeLessThan(clean.out.models[0].accuracy);
  });

  it.each([
    [['--kind', 'fog', '--severity', '1', '-o', 'x'], KINDS.join(', ')],
    [['--kind', 'contrast', '--severity', '6', '-o', 'x'], '1, 2, 3, 4 or 5'],
    [['--kind', 'contrast', '--severity', '1'], '-o OUT'],
    [['--severity', '1', '-o', 'x'], '--kind'],
    [['--kind', 'contrast', '-o', 'x'], '--severity'],
  ])('wrong usage exits with 2: %j', async (args, said) => {
    const { code, stderr } = await stockpot(['shift', 'nowhere', ...args]);
    expect(code).toBe(2);
    expect(stderr).toContain(said);
  });
});
