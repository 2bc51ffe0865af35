// The documentation says what is: commands run as pasted, options and JSON fields are those of the program.
import { spawnSync } from 'node:child_process';
import {
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { blocksOf, commandsOf, documents, otherTest, read } from './blocks.js';
import { root } from './consumer.js';

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

/** A folder with what the documentation's blocks name, as in a clone and as in a user's project. */
function prepare(cwd: string): void {
  const digits = join(cwd, 'examples/digits');
  for (const part of ['base', 'ingredients', 'heldout', 'test.tar', 'test-noise.tar']) {
    cpSync(join(root, 'examples/digits', part), join(digits, part), { recursive: true });
  }
  const network = 'examples/own_network';
  cpSync(join(root, network), join(cwd, network), { recursive: true });
  cpSync(join(digits, 'ingredients/ft00'), join(cwd, 'model-a'), { recursive: true });
  // The bytes decide what a file is.
  cpSync(join(digits, 'ingredients/ft01/model.safetensors'), join(cwd, 'model-b.pt'));
  cpSync(join(digits, 'ingredients/ft02/model.safetensors'), join(cwd, 'model-c.safetensors'));
  cpSync(join(digits, 'heldout'), join(cwd, 'held-out'), { recursive: true });
  mkdirSync(join(cwd, 'node_modules'));
  symlinkSync(root, join(cwd, 'node_modules/stockpot'));
}

describe('code blocks of the documentation', () => {
  const written = documents
    .map((name) => ({ name, text: read(name) }))
    .map(({ name, text }) => ({ name, blocks: blocksOf(text), other: otherTest(text) }))
    .filter(({ blocks }) => blocks.length > 0);
  const run = written
    .filter(({ other }) => other === undefined)
    .map(({ name, blocks }) => ({ name, blocks: blocks.filter((b) => b.reason === undefined) }))
    .filter(({ blocks }) => blocks.length > 0);

  test('are found', () => {
    expect(run.map((d) => d.name)).toEqual(expect.arrayContaining(['README.md', 'docs/cli.md']));
    for (const { other } of written) if (other) expect(existsSync(join(root, other))).toBe(true);
  });

  test('are run, or say why not', () => {
    for (const { name, blocks } of run) {
      const languages = blocks.map((b) => b.language);
      expect(languages, name).toEqual(languages.map((l) => (l === 'js' ? 'js' : 'sh')));
    }
    const skipped = written.flatMap(({ name, blocks }) =>
      blocks.flatMap((b) => (b.reason === undefined ? [] : [`${name}: ${b.reason}`])),
    );
    expect(skipped.filter((line) => /: .{10}/.exec(line) === null)).toEqual([]);
    console.log(`blocks that are not run here:\n${skipped.join('\n')}`);
  });

  // Networks are trained and compared here, on machines that may be busy.
  test.each(run)('run as pasted: $name', { timeout: 600_000 }, ({ name, blocks }) => {
    const cwd = join(folder, name.replace(/\W/g, '-'));
    prepare(cwd);
    blocks.forEach((block, i) => {
      if (block.language === 'js') {
        writeFileSync(join(cwd, `block${i}.mjs`), block.text);
        const r = shell(cwd, `node block${i}.mjs`);
        expect(r.status, `${block.text}\n${r.stdout}${r.stderr}`).toBe(0);
        return;
      }
      for (const { line, exit } of commandsOf(block)) {
        const r = shell(cwd, line);
        expect(r.status, `${line}\n${r.stdout}${r.stderr}`).toBe(exit);
      }
    });
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
    completion: ['completion bash --json'],
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

  test('and docs/troubleshooting.md have every error code', () => {
    const all = (document: string, pattern: RegExp) =>
      [...read(document).matchAll(pattern)].map((m) => m[1] as string);
    const codes = all('lib/errors.ts', /^ {2}\| '([A-Z_]+)'/gm);
    expect(codes.length).toBeGreaterThan(10);
    expect(sorted(cells(sections.get('Error codes') as string, /[A-Z_]+/g))).toEqual(sorted(codes));
    expect(sorted(all('docs/troubleshooting.md', /^## ([A-Z_]+)$/gm))).toEqual(sorted(codes));
  });

  test('docs/README.md leads to every guide', () => {
    const index = read('docs/README.md');
    const guides = documents.filter((n) => /^docs\/(?!README)/.test(n));
    expect(guides.filter((n) => !index.includes(`](${n.slice(5)})`))).toEqual([]);
  });
});

test('docs/benchmarks.md is made of the committed results', () => {
  const r = shell(root, 'node scripts/benchmarks_page.mjs --check');
  expect(r.status, r.stderr).toBe(0);
});

test.each(documents)('links of %s lead somewhere', (name) => {
  const files = [...read(name).matchAll(/\]\((?!https?:|#|mailto:)([^)#\s]+)/g)].map((m) => m[1]);
  for (const file of files) {
    const path = new URL(file as string, `file://${join(root, name)}`).pathname;
    expect(() => readFileSync(path), `${name}: ${file}`).not.toThrow(/ENOENT/);
  }
});
