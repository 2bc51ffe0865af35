// The documentation says what is: commands run as pasted, options and JSON fields are those of the program.
import { spawnSync } from 'node:child_process';
import {
  chmodSync,
  cpSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { root } from './consumer.js';

const read = (name: string) => readFileSync(join(root, name), 'utf8');
const documents = [
  'README.md',
  'ARCHITECTURE.md',
  'CONTRIBUTING.md',
  'SECURITY.md',
  ...readdirSync(join(root, 'docs'))
    .filter((n) => n.endsWith('.md'))
    .map((n) => `docs/${n}`),
];

const folder = mkdtempSync(join(tmpdir(), 'stockpot-docs-'));
const bin = join(folder, 'bin');

beforeAll(() => {
  mkdirSync(bin);
  const cli = `exec '${process.execPath}' '${join(root, 'dist/cli.js')}' "$@"\n`;
  writeFileSync(join(bin, 'stockpot'), `#!/bin/sh\n${cli}`);
  writeFileSync(join(bin, 'npx'), `#!/bin/sh\n[ "$1" = stockpot ] || exit 99\nshift\n${cli}`);
  for (const name of ['stockpot', 'npx']) chmodSync(join(bin, name), 0o755);
});

afterAll(() => rmSync(folder, { recursive: true, force: true }));

const shell = (cwd: string, line: string) =>
  spawnSync('bash', ['-c', line], {
    cwd,
    encoding: 'utf8',
    env: { ...process.env, PATH: `${bin}${delimiter}${process.env.PATH}` },
  });

/** The command lines of a document's ```sh fences that call stockpot, and the exit code that a comment announces. */
function commands(document: string): { line: string; exit: number }[] {
  const fences = [...document.matchAll(/^```sh\n(.*?)^```/gms)].map((m) => m[1] as string);
  return fences
    .flatMap((text) => text.replace(/\\\n\s*/g, '').split('\n'))
    .filter((line) => /^(npx )?stockpot /.test(line))
    .map((line) => ({ line, exit: Number(/# exits (\d+)/.exec(line)?.[1] ?? 0) }));
}

describe('commands in the documentation', () => {
  const written = documents
    .map((name) => ({ name, lines: commands(read(name)) }))
    .filter(({ lines }) => lines.length > 0);

  test('are found', () => {
    expect(written.map((d) => d.name)).toEqual(
      expect.arrayContaining(['README.md', 'docs/cli.md']),
    );
  });

  test.each(written)('run as pasted: $name', ({ name, lines }) => {
    const cwd = join(folder, name.replace(/\W/g, '-'));
    const digits = join(cwd, 'examples/digits');
    for (const part of ['base', 'ingredients', 'heldout', 'test.tar', 'test-noise.tar']) {
      cpSync(join(root, 'examples/digits', part), join(digits, part), { recursive: true });
    }
    const network = 'examples/own_network';
    cpSync(join(root, network), join(cwd, network), { recursive: true });
    for (const { line, exit } of lines) {
      const r = shell(cwd, line);
      expect(r.status, `${line}\n${r.stdout}${r.stderr}`).toBe(exit);
    }
  });
});

describe('docs/cli.md', () => {
  const text = read('docs/cli.md');
  const sections = new Map(
    text
      .split(/^## /m)
      .slice(1)
      .map((s) => [s.slice(0, s.indexOf('\n')), s]),
  );
  const common = sections.get('Every command') as string;
  const names = [...sections.keys()].filter((n) => /^[a-z]+$/.test(n));
  const help = (command: string) => shell(folder, `stockpot ${command} --help`).stdout;
  const sorted = (found: Iterable<string>) => [...new Set(found)].sort();
  /** What the first cells of a section's tables name. */
  const cells = (section: string, pattern: RegExp) =>
    [...section.matchAll(/^\| (`[^|]*`) \|/gm)].flatMap(
      (m) => (m[1] as string).match(pattern) ?? [],
    );

  test('has every command', () => {
    const listed = [...help('').matchAll(/^ {2}([a-z]+) \[options\]/gm)].map((m) => m[1] as string);
    expect(sorted(names)).toEqual(sorted(listed));
  });

  test.each(names)('has every option of %s, and no other', (command) => {
    const section = sections.get(command) as string;
    const documented = [section, common].flatMap((s) => cells(s, /--[a-z][a-z-]*/g));
    const options = help(command)
      .split('\n')
      .flatMap((line) => /^ {2}(?:-\w, )?(--[a-z][a-z-]*)/.exec(line)?.[1] ?? []);
    expect(options.length).toBeGreaterThan(5);
    expect(sorted(documented)).toEqual(sorted(options));
  });

  const invocations: Record<string, string[]> = {
    uniform: [
      'uniform examples/digits/base -o soup --json',
      'uniform examples/digits/base --dry-run --json',
    ],
    inspect: ['inspect examples/digits/base --hash --json'],
    diff: ['diff examples/digits/base examples/digits/base --json'],
    verify: ['verify soup --json'],
    devices: ['devices --json'],
    greedy: ['greedy examples/digits/base --data examples/digits/heldout -o greedy --json'],
    learned: [
      'learned examples/digits/base --data examples/digits/heldout --steps 1 -o learned --json',
      'learned examples/digits/base --data examples/digits/heldout --dry-run -o new --json',
    ],
    gradient: [
      'gradient examples/digits/base --data examples/digits/heldout --by layer --json',
      'gradient examples/digits/base --data examples/digits/heldout --by tensor --json',
    ],
    evaluate: ['evaluate examples/digits/base --data examples/digits/heldout --json'],
    predict: [
      'predict examples/digits/base --data examples/digits/heldout -o p.safetensors --json',
    ],
    compare: ['compare examples/digits/base --data examples/digits/heldout --json'],
    report: ['report examples/digits/base -o report.html --json'],
    angles: [
      'angles examples/digits/base examples/digits/base --data examples/digits/heldout --json',
      'angles examples/digits/base examples/digits/base --dry-run --json',
    ],
    landscape: [
      `landscape examples/digits/base examples/digits/ingredients/ft0{2,5} --grid 2 --data examples/digits/heldout --json`,
      `landscape examples/digits/base examples/digits/base --line --grid 2 --data examples/digits/heldout --json`,
      `landscape examples/digits/base examples/digits/ingredients/ft0{2,5} --dry-run --json`,
    ],
    gap: [
      'gap examples/digits/base examples/digits/base --data examples/digits/heldout --json',
      'gap examples/digits/base examples/digits/base --dry-run --json',
    ],
    shift: [
      'shift examples/digits/heldout -o shifted --kind contrast --severity 1 --overwrite --json',
      'shift examples/digits/heldout -o planned --kind contrast --severity 1 --dry-run --json',
    ],
    ensemble: ['ensemble examples/digits/base --data examples/digits/heldout --json'],
    probe: ['probe examples/digits/base --data examples/digits/heldout -o head --json'],
    zeroshot: [
      'zeroshot examples/own_network/clip --classes examples/own_network/classes.txt --templates examples/own_network/templates.txt -o zeroshot --json',
      'zeroshot examples/own_network/clip --classes examples/own_network/classes.txt --templates examples/own_network/templates.txt -o new --dry-run --json',
    ],
  };

  test.each(names)('has every JSON field of %s, and no other', (command) => {
    const digits = ['base', 'heldout', 'ingredients/ft02', 'ingredients/ft05'];
    for (const part of [...digits.map((d) => `digits/${d}`), 'own_network']) {
      cpSync(join(root, 'examples', part), join(folder, 'examples', part), { recursive: true });
    }
    const fields = (invocations[command] ?? []).flatMap((line) => {
      if (command === 'verify') shell(folder, 'stockpot uniform examples/digits/base -o soup');
      const r = shell(folder, `stockpot ${line}`);
      return Object.keys(JSON.parse(r.stdout));
    });
    const table = (sections.get(command) as string).split('| JSON field |')[1] as string;
    const documented = cells(table, /`[a-zA-Z0-9]+`/g).map((n) => n.slice(1, -1));
    expect(sorted(documented)).toEqual(sorted(fields));
  });

  test('has every error code', () => {
    const codes = [...read('lib/errors.ts').matchAll(/^ {2}\| '([A-Z_]+)'/gm)].map((m) => m[1]);
    const documented = cells(sections.get('Error codes') as string, /[A-Z_]+/g);
    expect(codes.length).toBeGreaterThan(10);
    expect(sorted(documented)).toEqual(sorted(codes as string[]));
  });
});

test.each(documents)('links of %s lead somewhere', (name) => {
  const files = [...read(name).matchAll(/\]\((?!https?:|#|mailto:)([^)#\s]+)/g)].map((m) => m[1]);
  for (const file of files) {
    const path = new URL(file as string, `file://${join(root, name)}`).pathname;
    expect(() => readFileSync(path), `${name}: ${file}`).not.toThrow(/ENOENT/);
  }
});
