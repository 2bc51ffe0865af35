// A dumped network holds what the library reads and computes; native tests run it (network_tests --case).
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { predict } from '../../lib/evaluate/predict.js';
import { packageRoot } from '../../lib/native.js';
import { readBack } from '../helpers/safetensors.js';

it('has the tables, the weights, and the logits of the first examples', async () => {
  const model = join(packageRoot, 'examples/digits/base');
  const data = join(packageRoot, 'examples/digits/heldout');
  const folder = mkdtempSync(join(tmpdir(), 'stockpot-dump-'));
  execFileSync(process.execPath, [
    join(packageRoot, 'scripts/dump_network.mjs'),
    ...[model, data, folder, '--examples', '3'],
  ]);
  const file = readFileSync(join(folder, 'network.bin'));
  expect(file.toString('latin1', 0, 4)).toBe('STP1');
  const [batch, output, inputs, weights, values, ops, buckets] = Array.from({ length: 7 }, (_, i) =>
    file.readUInt32LE(4 + 4 * i),
  ) as [number, number, number, number, number, number, number];
  expect(batch).toBe(3);
  expect(output).toBeLessThan(values);
  const tables = 32 + 16 * inputs + 72 * weights + 16 * values + 128 * ops + 4 * buckets;
  let elements = 0;
  for (let w = 0; w < weights; w++) {
    const at = 32 + 16 * inputs + 72 * w;
    let n = 1;
    for (let d = 0; d < file.readUInt32LE(at); d++)
      n *= Number(file.readBigUInt64LE(at + 8 + 8 * d));
    elements += n;
  }
  const pixels = Number(file.readBigUInt64LE(32));
  const predicted = join(folder, 'logits.safetensors');
  const { classes } = await predict(model, predicted, { data });
  const written = (await readBack(predicted)).tensors.get('logits') as { bytes: Buffer };
  const logits = Array.from({ length: 3 * classes }, (_, i) => written.bytes.readFloatLE(4 * i));
  expect(file.length).toBe(tables + 4 * (elements + 3 * pixels + logits.length));
  const dumped = Array.from({ length: logits.length }, (_, i) =>
    file.readFloatLE(file.length - 4 * (logits.length - i)),
  );
  expect(dumped).toEqual(logits);
});
