import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { json, root } from '../helpers/cli.js';
import { decode } from '../helpers/floats.js';
import { useFolder } from '../helpers/folder.js';
import { readBack } from '../helpers/safetensors.js';

const at = useFolder();
const GOLDEN = join(root, '../shared/golden');
const program = join(root, 'examples/own_network/evaluate.py');
const python = process.env.STOCKPOT_PYTHON ?? 'python3';
const has = () =>
  spawnSync(python, ['-c', 'import numpy, onnx, onnxruntime, safetensors']).status === 0;

describe.skipIf(!has())(
  'a Python program of ten lines evaluates (STOCKPOT_PYTHON names a Python)',
  () => {
    it('the example as the graph does', async () => {
      const example = join(root, 'examples/own_network');
      const [graph, data] = [join(example, 'graph.onnx'), join(example, 'data.safetensors')];
      const models = [0, 1].map((i) => join(example, 'ingredients', String(i)));
      const common = ['evaluate', ...models, '--data', data];
      const command = `'${python}' '${program}' {soup} '${graph}' '${data}'`;
      const byProgram = await json([...common, '--evaluate', command]);
      const byGraph = await json([...common, '--graph', graph]);
      for (const i of [0, 1]) {
        const [a, b] = [byProgram.out.models[i], byGraph.out.models[i]];
        expect([a.accuracy, a.f1, a.n]).toEqual([b.accuracy, b.f1, b.n]);
        expect(a.loss).toBeCloseTo(b.loss, 5);
      }
    });

    describe.skipIf(!existsSync(GOLDEN)).each(['coatnet_onnx', 'align_onnx'])('%s', (family) => {
      const folder = join(GOLDEN, family);
      const models = [0, 1, 2].map((i) => join(folder, 'ingredients', String(i)));
      const [graph, data] = [join(folder, 'graph.onnx'), join(folder, 'inputs.safetensors')];
      const command = `'${python}' '${program}' {soup} '${graph}' '${data}'`;

      it('logits', async () => {
        const out = at(`${family}.safetensors`);
        const args = ['predict', models[1] as string, '--data', data, '-o', out];
        expect((await json([...args, '--evaluate', command])).out).toMatchObject({ output: out });
        const read = async (file: string, name: string) =>
          decode('F32', (await readBack(file)).tensors.get(name)?.bytes as Buffer);
        const expected = await read(join(folder, 'expected.safetensors'), 'logits.1');
        const found = await read(out, 'logits');
        const largest = Math.max(...expected.map(Math.abs));
        const most = Math.max(...found.map((x, i) => Math.abs(x - (expected[i] as number))));
        expect([found.length, most / largest < 1e-4]).toEqual([expected.length, true]);
      });

      it('the greedy soup', { timeout: 120_000 }, async () => {
        const { greedy } = JSON.parse(await readFile(join(folder, 'expected.json'), 'utf8'));
        const args = ['greedy', ...models, '-o', at(family), '--evaluate', command];
        const { code, out } = await json(args);
        expect(code).toBe(0);
        expect([out.order, out.members, out.accuracy]).toEqual([
          greedy.order,
          greedy.members,
          greedy.accuracy,
        ]);
      });

      it('the learned soup', { timeout: 600_000 }, async () => {
        const { learned } = JSON.parse(await readFile(join(folder, 'expected.json'), 'utf8'));
        const { code, out } = await json([
          ...['learned', ...models, '-o', at(`${family}-learned`), '--data', data],
          ...['--evaluate', command, '--lr', String(learned.lr), '--steps', String(learned.steps)],
        ]);
        expect(code).toBe(0);
        for (const [i, loss] of out.loss.entries())
          expect(Math.abs(loss - learned.loss[i])).toBeLessThan(5e-3);
      });
    });
  },
);
