// What is said where the addon is missing, broken, or of another machine.
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Consumer, ingredients, pack, root } from './consumer.js';

const addon = join(root, 'build/Release/stockpot.node');
const here = `${process.platform}-${process.arch}`;
const folder = mkdtempSync(join(tmpdir(), 'stockpot-pack-'));
let consumer: Consumer;

beforeAll(() => {
  consumer = new Consumer().installOffline(pack(folder).tarball).removeAddon();
});

afterAll(() => {
  consumer?.remove();
  rmSync(folder, { recursive: true, force: true });
});

interface Failure {
  code: string;
  message: string;
  remedy: string;
  details: { message: string }[];
}

const failure = (): Failure => {
  const r = consumer.cli('uniform', ...ingredients, '-o', 'none', '--json');
  expect(r.status, r.stderr).toBe(1);
  const { error } = JSON.parse(r.stdout);
  expect(error.code).toBe('NATIVE');
  return error;
};

const found = ({ details }: Failure) => details[1]?.message;

const place = (bytes: Buffer | string) => {
  const file = join(consumer.folder, 'placed.node');
  writeFileSync(file, bytes);
  consumer.placeAddon(file);
};

describe('without an addon', () => {
  test('says what was found, what is needed, and which commands make it', () => {
    const said = failure();
    expect(said.message).toContain(`${here} with Node ${process.version}`);
    expect(said.message).toContain('No native build was found');
    expect(found(said)).toBe(`found: no addon in ${consumer.installed}/`);
    expect(said.details[2]?.message).toContain(`needed: prebuilds/${here}/stockpot*.node`);
    expect(said.details[2]?.message).toContain(`(here: ${process.versions.napi})`);
    if (process.platform === 'linux')
      expect(said.details[2]?.message).toMatch(
        /glibc 2\.34 or newer \(here: (glibc 2\.\d+|musl)\)/,
      );
    expect(said.remedy).toContain(`cd ${consumer.installed}/ && npx node-gyp rebuild`);
  });

  test('says it in lines, without a stack trace', () => {
    const { stderr } = consumer.cli('uniform', ...ingredients, '-o', 'none');
    const lines = stderr.trim().split('\n');
    expect(lines.map((l) => /^\w+/.exec(l)?.[0])).toEqual([
      'stockpot',
      'found',
      'needed',
      'Install',
    ]);
    expect(stderr).not.toMatch(/^\s+at /m);
  });

  test('rejects with the same error in the library', () => {
    consumer.write(
      'no_addon.mjs',
      `import { StockpotError, uniform } from 'stockpot';
       await uniform(process.argv.slice(2), 'none').catch((e) => {
         console.log(e instanceof StockpotError, e.code);
       });`,
    );
    expect(consumer.node('no_addon.mjs', ...ingredients).stdout).toBe('true NATIVE\n');
  });

  test('names a prebuild of another platform', () => {
    const other = join(consumer.installed, 'prebuilds/plan9-mips');
    mkdirSync(other, { recursive: true });
    writeFileSync(join(other, 'stockpot.node'), 'MZ');
    expect(found(failure())).toContain('prebuilds/plan9-mips/stockpot.node (for Windows)');
    consumer.removeAddon();
  });
});

describe('with an addon that does not load', () => {
  const real = readFileSync(addon);
  const ofMachine = (machine: number) => {
    const bytes = Buffer.from(real);
    bytes.writeUInt16LE(machine, 18);
    return bytes;
  };
  const macho = Buffer.alloc(64);
  macho.writeUInt32LE(0xfeedfacf, 0);
  macho.writeUInt32LE(16777228, 4);
  const cases: [string, Buffer | string, string][] = [
    ['no library', 'no shared library', 'no shared library'],
    ['nothing in it', '', 'no shared library'],
    ['another processor', ofMachine(process.arch === 'arm64' ? 62 : 183), 'for Linux'],
    ['an unheard-of processor', ofMachine(243), 'for Linux machine 243'],
    ['another system', macho, 'for macOS arm64'],
  ];

  test.each(cases)('%s', (_, bytes, kind) => {
    place(bytes);
    const said = failure();
    expect(said.message).toContain('stockpot.node');
    expect(found(said)).toContain(`prebuilds/${here}/stockpot.node (${kind}`);
  });

  // The system's loader would end the process.
  test.skipIf(process.platform !== 'linux').each([64, 4096, real.length - 1])(
    'cut off after %i bytes',
    (length) => {
      place(real.subarray(0, length));
      const said = failure();
      expect(said.message).toContain('stockpot.node is not complete');
      expect(found(said)).toContain(`(for Linux ${process.arch}, cut off)`);
    },
  );
});
