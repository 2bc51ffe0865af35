// Recipes and evaluations with --device cuda, on the emulated device: the processor's members and accuracies, in float32.
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import {
  ensemble,
  evaluate,
  gradient,
  greedy,
  learned,
  nativeEvaluator,
  predict,
  uniform,
} from '../../lib/index.js';
import { root } from '../helpers/cli.js';
import { failure } from '../helpers/errors.js';
import { useFolder } from '../helpers/folder.js';
import { numbers, putTensors, readBack } from '../helpers/safetensors.js';
import { useEmulatedDevice } from './emulated.js';
import { someImages } from './some_images.js';

const at = useFolder();
useEmulatedDevice();

const DIGITS = join(root, 'examples/digits');
const GOLDEN = join(root, '../shared/golden');
const KITCHEN = join(root, '../shared/kitchen');
/** What float32 sums in another order may do to a logit, or to a derivative, of size 1. */
const CLOSE = 2e-5;

type By = 'model' | 'layer' | 'tensor';
const digits = [0, 1, 2, 3].map((i) => join(DIGITS, `ingredients/ft0${i}`));
let files = 0;
const fresh = () => at(`${files++}.safetensors`);

/** `n` images of each class of a folder. */
const some = (from: string, n: number): string => someImages(from, n, at(`data-${files++}`));

let data = '';
beforeAll(() => {
  data = some(join(DIGITS, 'heldout'), 5);
});

/** The same on the processor and on the device. */
async function both<T>(run: (device: string) => Promise<T>): Promise<[T, T]> {
  return [await run('cpu'), await run('cuda')];
}

const near = (a: ArrayLike<number>, b: ArrayLike<number>, by = CLOSE) => {
  expect(a.length).toBe(b.length);
  for (let i = 0; i < a.length; i++)
    expect(Math.abs((a[i] as number) - (b[i] as number))).toBeLessThan(by);
};

it('evaluate: the same accuracies', async () => {
  const [cpu, cuda] = await both((device) => evaluate(digits, { data, device }));
  expect(cuda.models.map((m) => m.accuracy)).toEqual(cpu.models.map((m) => m.accuracy));
  near(
    cuda.models.map((m) => m.loss),
    cpu.models.map((m) => m.loss),
  );
});

it('predict: the same logits, whatever the batch', async () => {
  const logits = async (device: string, batchSize: number) => {
    const file = fresh();
    await predict(digits[0] as string, file, { data, device, batchSize });
    return (await readBack(file)).tensors.get('logits')?.bytes as Buffer;
  };
  const floats = (b: Buffer) =>
    new Float32Array(b.buffer.slice(b.byteOffset, b.byteOffset + b.length));
  const cuda = await logits('cuda', 50);
  near(floats(cuda), floats(await logits('cpu', 50)));
  expect((await logits('cuda', 7)).equals(cuda)).toBe(true);
});

it('ensemble: the same members', async () => {
  const [cpu, cuda] = await both((device) => ensemble(digits, { data, device, greedy: true }));
  expect(cuda).toMatchObject({ members: cpu.members, accuracy: cpu.accuracy });
});

it.each(['bf16', 'f16'] as const)('in %s: nearly the same logits', async (precision) => {
  const [cpu, cuda] = [fresh(), fresh()];
  await predict(digits[0] as string, cpu, { data });
  await predict(digits[0] as string, cuda, { data, device: 'cuda', precision });
  const [a, b] = [numbers(await readBack(cpu), 'logits'), numbers(await readBack(cuda), 'logits')];
  near(b, a, precision === 'bf16' ? 0.3 : 0.03);
  expect(b).not.toEqual(a);
  const error = await failure(predict(digits[0] as string, fresh(), { data, precision }), 'USAGE');
  expect(error.message).toContain('the processor runs networks in f32');
});

/** A recipe's soup, with an evaluator on the device. */
async function withEvaluator<T>(
  device: string,
  ingredients: readonly string[],
  from: string,
  run: (evaluator: Awaited<ReturnType<typeof nativeEvaluator>>) => Promise<T>,
): Promise<T> {
  const evaluator = await nativeEvaluator(ingredients, { data: from, device });
  try {
    return await run(evaluator);
  } finally {
    await evaluator.close();
  }
}

const greedyOn = (device: string, ingredients: readonly string[], from: string) =>
  withEvaluator(device, ingredients, from, (e) =>
    greedy(ingredients, at(`soup-${files++}`), { evaluator: e, device }),
  );

it('greedy: the same members, trace and soup, rejected as early', async () => {
  const [cpu, cuda] = await both((device) => greedyOn(device, digits, data));
  expect(cuda.trace).toEqual(cpu.trace);
  expect(cuda).toMatchObject({ members: cpu.members, accuracy: cpu.accuracy, sha256: cpu.sha256 });
});

it.each(['model', 'layer', 'tensor'] as const)('gradient by %s', async (by) => {
  const [cpu, cuda] = await both((device) => gradient(digits, { data, by, device, beta: 1.5 }));
  near([cuda.loss, cuda.beta, ...cuda.alpha], [cpu.loss, cpu.beta, ...cpu.alpha]);
  const rows = (g: typeof cpu) => Object.values(g.byLayer ?? g.byTensor ?? {}).flat();
  near(rows(cuda), rows(cpu));
});

const learnedOn = (device: string, by: By, memory?: number) =>
  withEvaluator(device, digits, data, (evaluator) =>
    learned(digits, fresh(), { evaluator, device, by, memory, steps: 3, batchSize: 'full' }),
  );

/** The most memory in which not all ingredients stay on the device. */
const tooLittle = (by: By) =>
  withEvaluator('cuda', digits, data, async (evaluator) => {
    const plan = async (memory?: number) =>
      (await learned(digits, fresh(), { evaluator, by, memory, batchSize: 'full', dryRun: true }))
        .plan;
    let memory = (await plan())?.memory as number;
    while ((await plan(Math.floor(memory)))?.residence === 'memory') memory *= 0.99;
    return Math.floor(memory);
  });

it.each(['model', 'layer', 'tensor'] as const)('learned by %s', async (by) => {
  const [cpu, cuda] = await both((device) => learnedOn(device, by));
  near(cuda.loss, cpu.loss);
  // AdamW's first steps go by the sign of a derivative: of one that is all but zero, rounding decides.
  near(Object.values(cuda.alpha).flat(), Object.values(cpu.alpha).flat(), 2e-3);
  expect(cuda.accuracy).toBe(cpu.accuracy);
});

it.each(['layer', 'model'] as const)(
  'learned by %s, where not all ingredients stay on the device',
  async (by) => {
    const all = await learnedOn('cuda', by);
    const streamed = await learnedOn('cuda', by, await tooLittle(by));
    near(streamed.loss, all.loss);
    near(Object.values(streamed.alpha).flat(), Object.values(all.alpha).flat());
  },
);

describe('what a device is given may be wrong', () => {
  it('NaN in an ingredient is refused in the words of the processor', async () => {
    const bad = at('bad');
    const { tensors } = await readBack(join(digits[1] as string, 'model.safetensors'));
    tensors.get('classifier.weight')?.bytes.writeUInt16LE(0x7e00, 20);
    await putTensors(join(bad, 'model.safetensors'), [...tensors.values()]);
    const [cpu, cuda] = await both((device) =>
      failure(evaluate([digits[0] as string, bad], { data, device }), 'NONFINITE'),
    );
    expect(cuda).toMatchObject({ message: cpu.message, tensor: cpu.tensor });
  });

  it('a device without memory says how much is asked and there is', async () => {
    process.env.EMULATOR_MEMORY = '100000';
    const error = await failure(evaluate(digits, { data, device: 'cuda' }), 'MEMORY');
    delete process.env.EMULATOR_MEMORY;
    expect(error.message).toMatch(/out of memory: .* needs .* but there is .* on the device/);
  });

  it('it can be aborted, and goes on after', async () => {
    for (const after of [0, 5, 50, 300]) {
      const signal = AbortSignal.timeout(after);
      await evaluate(digits, { data, device: 'cuda', signal }).then(
        () => {},
        (e) => expect(e.code).toBe('ABORTED'),
      );
    }
    await uniform(digits, fresh(), { device: 'cuda' });
  });
});

describe.skipIf(!existsSync(GOLDEN))('golden networks', () => {
  it.each(['t5_relu', 't5_gated'])('%s', async (name) => {
    const folder = join(GOLDEN, name);
    const ingredients = readdirSync(join(folder, 'ingredients'))
      .sort()
      .map((i) => join(folder, 'ingredients', i));
    const inputs = join(folder, 'inputs.safetensors');
    const [cpu, cuda] = await both((device) => greedyOn(device, ingredients, inputs));
    expect(cuda.trace).toEqual(cpu.trace);
    expect(cuda).toMatchObject({ members: cpu.members, accuracy: cpu.accuracy });
    const [a, b] = await both((device) => gradient(ingredients, { data: inputs, device }));
    near([b.loss, b.beta, ...b.alpha], [a.loss, a.beta, ...a.alpha], 1e-4);
  });
});

it.skipIf(!existsSync(KITCHEN))('greedy in the kitchen', async () => {
  const ingredients = [0, 1, 2].map((i) => join(KITCHEN, `ingredients/ft0${i}`));
  const from = some(join(KITCHEN, 'heldout'), 3);
  const [cpu, cuda] = await both((device) => greedyOn(device, ingredients, from));
  expect(cuda.trace).toEqual(cpu.trace);
  expect(cuda).toMatchObject({ members: cpu.members, accuracy: cpu.accuracy, sha256: cpu.sha256 });
});
