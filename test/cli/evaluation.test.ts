import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { packageRoot } from '../../lib/native.js';
import { json, stockpot } from '../helpers/cli.js';
import { listing, useFolder } from '../helpers/folder.js';

const at = useFolder();
const digits = join(packageRoot, 'examples/digits');
const data = join(digits, 'heldout');
const models = readdirSync(join(digits, 'ingredients'))
  .sort()
  .slice(0, 3)
  .map((name) => join(digits, 'ingredients', name));
const [model] = models as [string];

describe('--dry-run of commands that run a network', () => {
  it('says what would be held, and runs and writes nothing', async () => {
    const planned = {
      dryRun: true,
      n: 300,
      classes: 10,
      batchSize: 128,
      networkBytes: expect.any(Number),
      dataBytes: expect.any(Number),
      bytesRead: expect.any(Number),
      threads: expect.any(Number),
    };
    for (const command of ['evaluate', 'ensemble']) {
      const { code, out } = await json([command, ...models, '--data', data, '--dry-run']);
      expect(code).toBe(0);
      expect(out).toEqual({ ...planned, ingredients: models });
    }
    const target = at('logits.safetensors');
    const args = ['predict', model, '--data', data, '-o', target, '--dry-run'];
    expect((await json(args)).out).toEqual({ ...planned, ingredients: [model] });
    const { stdout } = await stockpot(args);
    expect(stdout).toMatch(/^would run 1 model on 300 examples, 10 classes, 128 at a time/);
    expect(await listing(at())).toEqual([]);
  });

  it('refuses what the run would refuse', async () => {
    const memory = ['--memory', '1MiB'];
    const refused = await json(['evaluate', model, '--data', data, '--dry-run', ...memory]);
    expect([refused.code, refused.out.error.code]).toEqual([1, 'MEMORY']);
    const args = ['predict', model, '--data', data, '-o', model, '--dry-run'];
    expect((await json(args)).out.error.code).toBe('OUTPUT');
  });
});

describe('--batch-size', () => {
  it('takes a number or auto, and nothing else; results do not depend on it', async () => {
    const run = (size: string) => json(['evaluate', model, '--data', data, '--batch-size', size]);
    const auto = await run('auto');
    expect(auto.code).toBe(0);
    expect(await run('7')).toEqual(auto);
    for (const wrong of ['0', 'half', '1025', '']) {
      const { code, out } = await run(wrong);
      expect([code, out.error.code]).toEqual([2, 'USAGE']);
    }
  });
});
