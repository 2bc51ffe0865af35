// Someone who has never seen the project: an empty folder, the tarball, two checkpoints, and what the README says.
import { cpSync, existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type Block, blocksOf, commandsOf, read } from './blocks.js';
import { ingredients, must, pack } from './consumer.js';

const folder = mkdtempSync(join(tmpdir(), 'stockpot-newcomer-'));
const [a, b] = ingredients as [string, string];

beforeAll(() => {
  const made = mkdtempSync(join(tmpdir(), 'stockpot-pack-'));
  const { tarball } = pack(made);
  cpSync(tarball, join(folder, basename(tarball)));
  rmSync(made, { recursive: true });
  cpSync(a, join(folder, 'model-a'), { recursive: true });
  cpSync(join(b, 'model.safetensors'), join(folder, 'model-b.pt'));
});

afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** The blocks of a document that say that they are run here. */
const blocksFor = (document: string): Block[] =>
  blocksOf(read(document)).filter((block) =>
    block.reason?.includes('newcomer.ci.ts runs it in an empty folder'),
  );

const paste = (blocks: readonly Block[]): string =>
  blocks
    .flatMap(commandsOf)
    .map(({ line }) => must(folder, 'bash', ['-c', line]))
    .join('');

test('installs, makes a soup and proves it, by copy and paste', () => {
  const blocks = blocksFor('README.md');
  expect(blocks.flatMap(commandsOf).map(({ line }) => line)).toContain('npm init -y');
  const said = paste(blocks);
  expect(said).toContain('verified');
  expect(existsSync(join(folder, 'soup/model.safetensors'))).toBe(true);
  const record = JSON.parse(readFileSync(join(folder, 'soup/soup.json'), 'utf8'));
  expect(record).toMatchObject({ recipe: 'uniform', weights: [0.5, 0.5] });
});
