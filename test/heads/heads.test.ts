import { existsSync } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { logisticRegression } from '../../lib/heads/logistic.js';
import { probe, zeroshot } from '../../lib/index.js';
import { lbfgs } from '../../lib/learn/lbfgs.js';
import { native } from '../../lib/native.js';
import { json, root, stockpot } from '../helpers/cli.js';
import { failure } from '../helpers/errors.js';
import { decode } from '../helpers/floats.js';
import { useFolder } from '../helpers/folder.js';
import { readBack } from '../helpers/safetensors.js';

const at = useFolder();
const FIXTURES = join(import.meta.dirname, '../fixtures/heads');
const fixture = (name: string) => join(FIXTURES, name);
const ALIGN = join(root, '../shared/golden/align_onnx');
const EXAMPLE = join(root, 'examples/own_network');
const CLIP = join(EXAMPLE, 'clip');
const prompts = {
  classes: join(EXAMPLE, 'classes.txt'),
  templates: join(EXAMPLE, 'templates.txt'),
};
const tokenizer = fixture('tokenizer.json');
const reference = readFile(fixture('expected.json'), 'utf8').then(JSON.parse);

afterEach(() => {
  expect(native().memoryHeld()).toEqual({ buffers: 0, networks: 0 });
});

async function readHead(path: string) {
  const { tensors } = await readBack(path);
  const [w, b] = ['weight', 'bias'].map((n) => tensors.get(`classification_head.${n}`));
  return {
    shape: w?.shape,
    weight: decode('F32', w?.bytes as Buffer),
    bias: decode('F32', b?.bytes as Buffer),
  };
}

/** Largest difference, of the largest number. */
const away = (found: readonly number[], rows: number[][]): number => {
  const flat = rows.flat();
  expect(found).toHaveLength(flat.length);
  const largest = Math.max(...flat.map(Math.abs));
  return Math.max(...found.map((x, i) => Math.abs(x - (flat[i] as number)))) / largest;
};

describe('a zero-shot head is that of the same towers in transformers', () => {
  it('CLIP, natively', async () => {
    const out = at('clip.safetensors');
    const made = await zeroshot(CLIP, out, prompts);
    expect(made).toMatchObject({ classes: 4, templates: 3, features: 12, notes: [] });
    const head = await readHead(out);
    expect(head.shape).toEqual([4, 12]);
    expect(head.bias).toEqual([0, 0, 0, 0]);
    expect(away(head.weight, (await reference).clip)).toBeLessThan(1e-5);
  });

  it('ALIGN, by a graph of its text tower that was exported with other weights', async () => {
    const out = at('align.safetensors');
    const graph = fixture('align/text.onnx');
    await zeroshot(fixture('align'), out, { ...prompts, tokenizer, graph });
    expect(away((await readHead(out)).weight, (await reference).align)).toBeLessThan(1e-5);
  });

  it.skipIf(!existsSync(ALIGN))('ALIGN, by the whole graph, where texts meet images', async () => {
    const out = at('whole.safetensors');
    await zeroshot(join(ALIGN, 'ingredients/1'), out, {
      ...{ ...prompts, tokenizer, graph: join(ALIGN, 'graph.onnx') },
    });
    expect(away((await readHead(out)).weight, (await reference).align_graph)).toBeLessThan(1e-5);
  });

  it('on the command line, into a folder', async () => {
    const args = ['zeroshot', CLIP, '--classes', prompts.classes];
    const { code, out } = await json([...args, '--templates', prompts.templates, '-o', at('head')]);
    expect([code, out.output, out.classes]).toEqual([0, at('head'), 4]);
    const head = await readHead(at('head', 'model.safetensors'));
    expect(away(head.weight, (await reference).clip)).toBeLessThan(1e-5);
    expect((await stockpot([...args, '-o', at('head2')])).code).toBe(2);
    const dry = ['--templates', prompts.templates, '-o', at('head3'), '--dry-run'];
    expect((await json([...args, ...dry])).out).toMatchObject({ classes: 4, features: null });
    expect(existsSync(at('head3'))).toBe(false);
  });

  it('refuses models, templates, classes and tokenizers that are none', async () => {
    const file = async (name: string, text: string) => {
      await writeFile(at(name), text);
      return at(name);
    };
    const out = at('never.safetensors');
    const make = (model: string, more: Partial<Parameters<typeof zeroshot>[2]> = {}) =>
      zeroshot(model, out, { ...prompts, ...more });
    const clip = CLIP;
    await failure(make(clip, { templates: await file('t', 'a photo') }), 'FORMAT');
    await failure(make(clip, { classes: await file('c', 'cat\n\ndog') }), 'FORMAT');
    await failure(make(clip, { classes: at('missing') }), 'NOT_FOUND');
    await failure(make(clip, { tokenizer: await file('j', '{"model": 3}') }), 'FORMAT');
    const error = await failure(
      make(fixture('align'), { graph: fixture('align/text.onnx') }),
      'NOT_FOUND',
    );
    expect(error.remedy).toMatch(/--tokenizer/);
    const digits = join(root, 'examples/digits/base');
    expect((await failure(make(digits, { tokenizer }), 'UNSUPPORTED')).message).toMatch(
      /logit_scale/,
    );
    await failure(zeroshot(clip, clip, { ...prompts, overwrite: true }), 'OUTPUT');
    expect(existsSync(out)).toBe(false);
  });
});

describe('logistic regression', () => {
  it.for(['0.1', '0.001'])('agrees with scikit-learn, l2 %s', async (l2) => {
    const { x, y, fits } = (await reference).features;
    const features = Float32Array.from((x as number[][]).flat());
    const fit = logisticRegression(features, Int32Array.from(y), { l2: Number(l2), classes: 3 });
    expect(fit.converged).toBe(true);
    expect(away([...fit.weight], fits[l2].weight)).toBeLessThan(1e-6);
    expect(away([...fit.bias], [fits[l2].bias])).toBeLessThan(1e-6);
  });

  it('is the same to the bit when it is done again', async () => {
    const { x, y } = (await reference).features;
    const features = Float32Array.from((x as number[][]).flat());
    const again = () => logisticRegression(features, Int32Array.from(y), { l2: 1e-3, classes: 3 });
    expect(again()).toEqual(again());
  });
});

describe('L-BFGS', () => {
  it('finds the minimum of a badly scaled quadratic, and says where it gave up', () => {
    const f = (x: Float64Array, g: Float64Array) => {
      let value = 0;
      for (const [i, v] of x.entries()) {
        const a = 10 ** (i / 2);
        value += (a / 2) * (v - i) ** 2;
        g[i] = a * (v - i);
      }
      return value;
    };
    const found = lbfgs(f, new Float64Array(8), { tolerance: 1e-9 });
    expect(found.converged).toBe(true);
    for (const [i, v] of found.x.entries()) expect(v).toBeCloseTo(i, 8);
    expect(lbfgs(f, new Float64Array(8), { iterations: 2 })).toMatchObject({
      converged: false,
      iterations: 2,
    });
  });
});

describe('a probe', () => {
  it('of CLIP stands on image features of length 1, and agrees with scikit-learn', async () => {
    const out = at('probe.safetensors');
    const data = fixture('images.safetensors');
    const made = await probe(CLIP, out, { data, l2: 1e-3 });
    expect(made).toMatchObject({ n: 12, classes: 4, features: 12, converged: true });
    const { weight, bias } = (await reference).clip_probe;
    const head = await readHead(out);
    expect(away(head.weight, weight)).toBeLessThan(1e-4);
    expect(away(head.bias, [bias])).toBeLessThan(1e-4);
  });

  it('of a ViT on images, on the command line', async () => {
    const digits = join(root, 'examples/digits');
    const args = ['probe', join(digits, 'base'), '--data', join(digits, 'heldout')];
    const { code, out } = await json([...args, '-o', at('digits.safetensors'), '--l2', '0.001']);
    expect([code, out.classes]).toEqual([0, 10]);
    expect(out.accuracy).toBeGreaterThan(0.9);
    expect((await readHead(at('digits.safetensors'))).shape).toEqual([10, out.features]);
    expect((await stockpot(args)).code).toBe(2);
    const dry = ['-o', at('planned.safetensors'), '--dry-run'];
    expect((await json([...args, ...dry])).out).toMatchObject({ classes: 10, dryRun: true });
    expect(existsSync(at('planned.safetensors'))).toBe(false);
  });

  it('refuses a penalty that is none, and a network without features', async () => {
    const data = fixture('images.safetensors');
    await failure(probe(CLIP, at('x.safetensors'), { data, l2: -1 }), 'USAGE');
    await failure(probe(fixture('align'), at('x.safetensors'), { data }), 'NOT_FOUND');
  });
});
