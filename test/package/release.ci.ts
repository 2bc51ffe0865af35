import { spawnSync } from 'node:child_process';
import { cpSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Consumer, ingredients, must, type Packed, pack, root, soupOfDigits } from './consumer.js';

const platform = `${process.platform}-${process.arch}`;
const cmakeAddon = join(root, 'build-cmake/Release/stockpot.node');
const folder = mkdtempSync(join(tmpdir(), 'stockpot-pack-'));
let packed: Packed;
let expected: string;

beforeAll(async () => {
  expected = await soupOfDigits(folder);
  packed = pack(folder);
});

afterAll(() => rmSync(folder, { recursive: true, force: true }));

const soupOf = (consumer: Consumer) => {
  const r = consumer.cli('uniform', ...ingredients, '-o', 'soup.safetensors', '--json');
  expect(r.stderr).toBe('');
  return readFileSync(join(consumer.folder, 'soup.safetensors'));
};

describe('the tarball with its prebuild, installed from the registry without a compiler', () => {
  let consumer: Consumer;

  beforeAll(() => {
    consumer = new Consumer().withoutCompiler().installFromRegistry(packed.tarball);
  });

  afterAll(() => consumer?.remove());

  test('brings a prebuild and nothing that was compiled here', () => {
    const prebuilds = readdirSync(join(consumer.installed, 'prebuilds', platform));
    expect(prebuilds.filter((n) => n.endsWith('.node'))).toHaveLength(1);
    expect(existsSync(join(consumer.installed, 'build'))).toBe(false);
  });

  test('finds no compiler', () => {
    const compilers = 'for c in cc gcc c++ g++ clang make python3; do command -v $c; done; true';
    const code = `process.stdout.write(require('child_process').execSync(${JSON.stringify(compilers)}))`;
    expect(consumer.node('-e', code)).toMatchObject({ status: 0, stdout: '' });
  });

  test.each(['soup.mjs', 'soup.cjs'])('runs %s', (file) => {
    expect(consumer.library(file)).toBe(expected);
  });

  test.each(['soup.mts', 'soup.cts'])('compiles and runs %s', (file) => {
    expect(consumer.typescript(file)).toBe(expected);
  });

  test('throws what C++ throws as errors of JavaScript', () => {
    consumer.write(
      'throws.cjs',
      `const addon = require('node-gyp-build')(${JSON.stringify(consumer.installed)});
       try { addon.merge({}); } catch (e) { console.log(e instanceof TypeError, e.message); }`,
    );
    expect(consumer.node('throws.cjs').stdout).toMatch(/^true stockpot addon: /);
  });

  test('runs the stockpot command', () => {
    const r = consumer.cli('uniform', ...ingredients, '-o', 'soup', '--json');
    expect(JSON.parse(r.stdout).sha256).toBe(expected);
  });
});

describe('a processor of x86-64-v2, emulated', () => {
  const qemu = spawnSync('qemu-x86_64-static', ['--version']).status === 0;

  test.skipIf(!qemu || platform !== 'linux-x64')('makes the same soup with the prebuild', () => {
    const consumer = new Consumer().installOffline(packed.tarball);
    const onNehalem = (...args: string[]) =>
      must(consumer.folder, 'qemu-x86_64-static', ['-cpu', 'Nehalem', process.execPath, ...args]);
    const cli = join(consumer.installed, 'dist/cli.js');
    const { devices } = JSON.parse(onNehalem(cli, 'devices', '--json'));
    expect(devices[0].kernels).toEqual(['plain']);
    const made = onNehalem(cli, 'uniform', ...ingredients, '-o', 'soup', '--json');
    expect(JSON.parse(made).sha256).toBe(expected);
    // Emulated, an image takes its time: two of each class.
    const heldout = join(root, 'examples/digits/heldout');
    for (const name of readdirSync(heldout)) {
      for (const image of readdirSync(join(heldout, name)).slice(0, 2)) {
        cpSync(join(heldout, name, image), join(consumer.folder, 'few', name, image));
      }
    }
    const data = ['--data', 'few', '--json'];
    const { models } = JSON.parse(onNehalem(cli, 'evaluate', 'soup', ...data));
    const here = JSON.parse(consumer.cli('evaluate', 'soup', ...data).stdout).models;
    expect(models[0].accuracy).toBe(here[0].accuracy);
    expect(models[0].loss).toBeCloseTo(here[0].loss, 5);
    consumer.remove();
  });
});

describe('the addon that cmake-js built', () => {
  test.skipIf(!existsSync(cmakeAddon))('makes the same bytes as that of node-gyp', () => {
    const [gyp, cmake] = [join(root, 'build/Release/stockpot.node'), cmakeAddon].map((addon) => {
      const consumer = new Consumer().installOffline(packed.tarball).placeAddon(addon);
      const made = {
        soup: soupOf(consumer),
        libraries: ['soup.mjs', 'soup.cjs'].map((f) => consumer.library(f)),
      };
      consumer.remove();
      return made;
    });
    expect(cmake?.soup.equals(gyp?.soup as Buffer)).toBe(true);
    expect(cmake?.libraries).toEqual([expected, expected]);
    expect(gyp?.libraries).toEqual([expected, expected]);
  });
});

describe('a source build of the tarball', () => {
  test('compiles and works with what the package brings', () => {
    const consumer = new Consumer().installFromRegistry(packed.tarball).removeAddon();
    const r = consumer.rebuild();
    expect(r.status, r.stderr).toBe(0);
    expect(consumer.library('soup.mjs')).toBe(expected);
    consumer.remove();
  });
});
