import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  Consumer,
  ingredients,
  type Packed,
  pack,
  readJson,
  root,
  soupOfDigits,
} from './consumer.js';

const addon = join(root, 'build/Release/stockpot.node');
const folder = mkdtempSync(join(tmpdir(), 'stockpot-pack-'));
let packed: Packed;
let expected: string;
let consumer: Consumer;

beforeAll(async () => {
  expected = await soupOfDigits(folder);
  packed = pack(folder);
  consumer = new Consumer().installOffline(packed.tarball).placeAddon(addon);
});

afterAll(() => {
  consumer?.remove();
  rmSync(folder, { recursive: true, force: true });
});

describe('the packed package', () => {
  test('holds what is needed to run and to compile, and nothing else', () => {
    const wanted = [
      'package.json',
      'README.md',
      'LICENSE',
      'CHANGELOG.md',
      'SECURITY.md',
      'binding.gyp',
      'CMakeLists.txt',
      'native/sources.txt',
      'docs/numerics.md',
      ...['index.js', 'index.cjs', 'index.d.ts', 'index.d.cts', 'cli.js'].map((n) => `dist/${n}`),
      ...readFileSync(join(root, 'native/sources.txt'), 'utf8').trim().split('\n'),
    ];
    expect(packed.files).toEqual(expect.arrayContaining(wanted));
    const places =
      /^(cmake|dist|docs|examples\/service|native|prebuilds)\/|^(package\.json|binding\.gyp|CMakeLists\.txt|LICENSE|\w+\.md)$/;
    expect(packed.files.filter((f) => !places.test(f))).toEqual([]);
  });

  test('says in package.json what its files are', () => {
    const read = readJson(join(consumer.installed, 'package.json'));
    const named = [
      read.main,
      read.module,
      read.types,
      read.bin.stockpot,
      ...Object.values(read.exports['.']).flatMap((e) => Object.values(e as object)),
    ].map((f: string) => f.replace(/^\.\//, ''));
    expect(packed.files).toEqual(expect.arrayContaining(named));
  });

  test('reports without the optional charts, as far as that goes', () => {
    // installOffline links what is needed and nothing that is optional.
    consumer.write('plain.json', JSON.stringify({ checkpoints: ['a', 'b'], points: [] }));
    const html = consumer.cli('report', 'plain.json', '-o', 'report.html');
    expect(html.status).toBe(1);
    expect(html.stderr).toContain('npm install vega vega-lite');
    expect(consumer.cli('report', 'plain.json', '-o', 'again.json').status).toBe(0);
  });

  test('makes a soup from an ES module', () => {
    expect(consumer.library('soup.mjs')).toBe(expected);
  });

  test('makes a soup from CommonJS', () => {
    expect(consumer.library('soup.cjs')).toBe(expected);
  });

  test('makes a soup from strict TypeScript, as an ES module', () => {
    expect(consumer.typescript('soup.mts')).toBe(expected);
  });

  test('makes a soup from strict TypeScript, as CommonJS', () => {
    expect(consumer.typescript('soup.cts')).toBe(expected);
  });

  test('makes a soup from a bundle that leaves it out', async () => {
    consumer.bundle('soup.mjs', 'dist/app.mjs', ['stockpot']);
    expect(consumer.library('dist/app.mjs')).toBe(expected);
  });

  test('says in a bundle that holds it what to do', async () => {
    const { dependencies, optionalDependencies } = readJson(
      join(consumer.installed, 'package.json'),
    );
    const others = Object.keys({ ...dependencies, ...optionalDependencies });
    consumer.bundle('soup.mjs', 'dist/whole.mjs', others);
    const r = consumer.node('dist/whole.mjs', join(consumer.folder, 'none'), ...ingredients);
    expect(r.status).toBe(1);
    expect(r.stderr).toContain("code: 'NATIVE'");
    expect(r.stderr).toContain('esbuild: --external:stockpot');
  });

  test('finds the GPU library of stockpot-cuda where that is installed', () => {
    const cuda = join(consumer.folder, 'node_modules/stockpot-cuda');
    cpSync(join(root, 'packages/cuda/package.json'), join(cuda, 'package.json'));
    const place = join(cuda, `${process.platform}-${process.arch}`);
    mkdirSync(place);
    const library = join(place, 'libstockpot-cuda.so');
    writeFileSync(library, 'no library');
    const { devices } = JSON.parse(consumer.cli('devices', '--json').stdout);
    expect(devices[1]).toMatchObject({ usable: false, reason: expect.stringContaining(library) });
    rmSync(cuda, { recursive: true });
    const without = JSON.parse(consumer.cli('devices', '--json').stdout).devices;
    expect(without[1].reason).toContain('npm install stockpot-cuda');
  });

  test("runs the README's example", () => {
    const code = /^```js\n(.*?)^```/ms.exec(readFileSync(join(root, 'README.md'), 'utf8'))?.[1];
    const [a, b, c] = ingredients as [string, string, string];
    const into = (name: string) => join(consumer.folder, name);
    cpSync(a, into('model-a'), { recursive: true });
    // The bytes decide what a file is.
    cpSync(join(b, 'model.safetensors'), into('model-b.pt'));
    cpSync(join(c, 'model.safetensors'), into('model-c.safetensors'));
    consumer.write('readme.mjs', code as string);
    const r = consumer.node('readme.mjs');
    expect(r.stdout, r.stderr).toMatch(/^[0-9a-f]{64} \d+ [\d.]+ true\n$/);
    rmSync(into('mean'), { recursive: true });
  });

  test('brings the stockpot command', () => {
    const r = consumer.cli('uniform', ...ingredients, '-o', 'soup', '--json');
    expect(r.stderr).toBe('');
    expect(JSON.parse(r.stdout).sha256).toBe(expected);
    expect(r.status).toBe(0);
  });
});
