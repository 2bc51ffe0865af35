// Someone who has never seen the project: an empty folder, the tarball, two checkpoints, and what the README says.
import { spawnSync } from 'node:child_process';
import { cpSync, existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type Block, blocksOf, read } from './blocks.js';
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

/** The README's blocks that say that they are run here. */
const [install, serve] = blocksOf(read('README.md')).filter((block) =>
  block.reason?.includes('newcomer.ci.ts runs it in an empty folder'),
) as [Block, Block];

const paste = (text: string): string => must(folder, 'bash', ['-c', `set -e\n${text}`]);

test('installs, makes a soup and proves it, by copy and paste', () => {
  const said = paste(install.text);
  expect(said).toContain('verified');
  expect(existsSync(join(folder, 'soup/model.safetensors'))).toBe(true);
  const record = JSON.parse(readFileSync(join(folder, 'soup/soup.json'), 'utf8'));
  expect(record).toMatchObject({ recipe: 'uniform', weights: [0.5, 0.5] });
});

const curl = spawnSync('curl', ['--version']).status === 0;

test.skipIf(!curl)('runs the service, by copy and paste (needs curl)', () => {
  const port = 20_000 + (process.pid % 20_000);
  const script = serve.text.replaceAll('localhost:8080', `127.0.0.1:${port}`);
  const said = paste(`export SOUPS_PORT=${port}\ntrap 'kill -9 $!' ERR\n${script}`);
  expect(said).toContain('"recipe":"uniform"');
  expect(readFileSync(join(folder, 'service.log'), 'utf8')).toContain('"msg":"stopped"');
});
