import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { openCheckpoint } from '../../lib/checkpoint/open.js';
import type { Checkpoint, TensorEntry } from '../../lib/checkpoint/types.js';
import type { ErrorCode, StockpotError } from '../../lib/errors.js';
import { buildNetwork, type Dimensions, findConfig } from '../../lib/models/index.js';
import { root } from '../helpers/cli.js';
import { failure } from '../helpers/errors.js';
import { useFolder } from '../helpers/folder.js';
import { put } from '../helpers/safetensors.js';
import { checkpointOf } from './made_up.js';

const at = useFolder();
const DIGITS = join(root, 'examples/digits/base');
let digits: Checkpoint;
let config: Record<string, unknown>;

beforeAll(async () => {
  digits = await openCheckpoint(DIGITS);
  config = (await findConfig(DIGITS)) as Record<string, unknown>;
});

/** The checkpoint with other tensors. */
function changed(change: (tensors: Map<string, TensorEntry>) => void): Checkpoint {
  const tensors = new Map(digits.tensors);
  change(tensors);
  return { ...digits, tensors };
}

const refusal = (
  checkpoint: Checkpoint,
  config: unknown,
  code: ErrorCode = 'UNSUPPORTED',
  dimensions: Dimensions = {},
): Promise<StockpotError> =>
  failure(
    Promise.resolve().then(() => buildNetwork(checkpoint, config, dimensions)),
    code,
  );

const shaped = (shapes: Record<string, number[]>): Checkpoint =>
  checkpointOf(new Map(Object.entries(shapes).map(([name, shape]) => [name, { shape }])));

describe('a network that the engine does not know is refused, with what was recognised', () => {
  it('a missing tensor, one of another shape, one left over, one of integers: all are listed', async () => {
    const names = [
      'vit.encoder.layer.1.layernorm_after.bias',
      'vit.embeddings.cls_token',
      'vit.encoder.layer.0.attention.qkv.weight',
      'vit.layernorm.weight',
    ] as const;
    const [missing, reshaped, extra, integers] = names;
    const error = await refusal(
      changed((tensors) => {
        const entry = (name: string) => tensors.get(name) as TensorEntry;
        tensors.delete(missing);
        tensors.set(reshaped, { ...entry(reshaped), shape: [1, 1, 31] });
        tensors.set(integers, { ...entry(integers), dtype: 'I32' });
        tensors.set(extra, { ...entry('vit.layernorm.bias'), name: extra, shape: [96, 32] });
      }),
      config,
    );
    expect(error.file).toBe(DIGITS);
    expect(error.message).toContain('recognised as ViT (transformers)');
    const found = Object.fromEntries(error.details.map((d) => [d.tensor ?? '', d.message]));
    expect(found).toEqual({
      [missing.replace('vit.', '')]: 'is missing (expected [32])',
      [reshaped]: 'expected [1, 1, 32] but found [1, 1, 31]',
      [extra]: 'is left over ([96, 32])',
      [integers]: 'expected floating-point numbers but found I32',
    });
    expect(error.tensor).toBe(error.details[0]?.tensor);
    expect(error.remedy).toContain('--graph');
  });

  it('fewer or more blocks than the config says', async () => {
    const fewer = await refusal(digits, { ...config, num_hidden_layers: 2 });
    expect(fewer.details).toHaveLength(16);
    expect(fewer.details[0]?.message).toContain('is left over');
    const more = await refusal(digits, { ...config, num_hidden_layers: 2_000_000_000 });
    expect(more.details).toMatchObject([
      { tensor: 'encoder.layer.3', message: 'is missing (the config says 2000000000 blocks)' },
    ]);
  });

  it('sizes that do not fit the tensors', async () => {
    const image = await refusal(digits, { ...config, image_size: 16 });
    expect(image.tensor).toBe('vit.embeddings.position_embeddings');
    expect(image.message).toContain('expected [1, 65, 32] but found [1, 17, 32]');
    const patch = await refusal(digits, { ...config, image_size: 1 });
    expect(patch.message).toContain('an image of 1 × 1 has no patch of 2 × 2');
    const heads = await refusal(digits, { ...config, num_attention_heads: 5 });
    expect(heads.message).toContain('5 attention heads over a width of 32');
    const activation = await refusal(digits, { ...config, hidden_act: 'mish' });
    expect(activation.message).toContain('"mish"');
  });

  it('no head', async () => {
    const error = await refusal(
      changed((tensors) => {
        tensors.delete('classifier.weight');
        tensors.delete('classifier.bias');
      }),
      config,
    );
    expect(error.details).toMatchObject([{ tensor: 'classifier.weight', message: 'is missing' }]);
  });

  it('another family, another class, no family', async () => {
    const swin = await refusal(digits, { model_type: 'swin' });
    expect(swin.message).toContain('model_type "swin"');
    expect(swin.message).toContain('the tensors look like ViT as transformers stores it');
    const masked = await refusal(digits, {
      ...config,
      architectures: ['ViTForMaskedImageModeling'],
    });
    expect(masked.message).toContain('expected ViTForImageClassification');
    const other = await refusal(digits, { model_type: 'bert' });
    expect(other.message).toContain('its config is of another network than its tensors');
    expect((await refusal(digits, {})).message).toContain('no model_type');
    expect((await refusal(digits, { model_type: 'constructor' })).message).toContain('constructor');
    const list = await refusal(shaped({ a: [1] }), []);
    expect(list.message).toContain('the tensors are none that it knows (a, …)');
  });

  it('a config’s entry that cannot be', async () => {
    for (const [key, value, expected] of [
      ['hidden_size', '32', 'expected a whole number that is not negative for hidden_size'],
      ['hidden_size', 0, 'above 0'],
      ['image_size', [8], 'a size in pixels'],
      ['layer_norm_eps', 'small', 'a number'],
      ['qkv_bias', 1, 'true or false'],
      ['architectures', 'ViT', 'a list of strings'],
      ['model_type', 5, 'a string'],
    ] as const) {
      const error = await refusal(digits, { ...config, [key]: value }, 'FORMAT');
      expect(error.message).toContain(expected);
    }
  });
});

describe('timm', () => {
  const stem = { 'patch_embed.proj.weight': [8, 3, 4, 4], pos_embed: [1, 5, 8] };

  it.for([
    ['swin_tiny_patch4_window7_224', {}],
    ['vit_base_patch16_rope_224', {}],
    ['vit_base_patch16_rpn_224', {}],
    ['vit_relpos_base_patch16_224', {}],
    ['vit_small_r26_s32_224', {}],
    ['vit_base_patch16_xp_224', {}],
    ['vit_small_patch16_18x2_224', {}],
    ['deit_base_distilled_patch16_224', {}],
    ['vit_tiny_patch16_224', { block_fn: 'ParallelScalingBlock' }],
    ['vit_tiny_patch16_224', { pool_include_prefix: true }],
  ] as const)('%s %o', async ([architecture, model_args]) => {
    const error = await refusal(shaped(stem), { architecture, model_args });
    expect(error.message).toContain(Object.keys(model_args)[0] ?? architecture);
  });

  it('register tokens, attention pooling', async () => {
    const config = { architecture: 'vit_tiny_patch4_8', model_args: { img_size: 8, num_heads: 2 } };
    const registers = await refusal(shaped({ ...stem, reg_token: [1, 4, 8] }), config);
    expect(registers.message).toContain('4 register tokens');
    const pooled = { ...config, global_pool: 'map' };
    expect((await refusal(shaped(stem), pooled)).message).toContain('the pooling "map"');
    const token = { ...config, global_pool: 'token' };
    expect((await refusal(shaped(stem), token)).message).toContain('without a class token');
  });
});

describe('what the data must say', () => {
  const words = { 'bert.embeddings.word_embeddings.weight': [20, 8] };
  const t5 = { 'decoder.block.0.layer.0.SelfAttention.q.weight': [8, 8], 'shared.weight': [20, 8] };
  const bert = { model_type: 'bert', hidden_size: 8, num_attention_heads: 2 };

  it('the length of texts', async () => {
    const error = await refusal(shaped(words), bert, 'USAGE');
    expect(error.message).toContain('needs the length of input_ids');
    const long = await refusal(shaped(words), bert, 'MISMATCH', { sequenceLength: 513 });
    expect(long.message).toContain('input_ids has 513 tokens, but the network takes at most 512');
  });

  it('buckets that have no order', async () => {
    const dimensions = { sequenceLength: 4, labelIds: [[3, 1]] };
    const config = { model_type: 't5', relative_attention_max_distance: 16 };
    const error = await refusal(shaped(t5), config, 'UNSUPPORTED', dimensions);
    expect(error.message).toContain('32 buckets for relative positions up to 16');
  });

  it.for([
    [[], 'no class'],
    [
      [
        [3, 1],
        [0, 0],
      ],
      'none for class 1',
    ],
    [[[3, 20]], '20 for class 0'],
    [[[-1, 3]], '-1 for class 0'],
    [[[0.5]], '0.5 for class 0'],
  ] as const)('label words %j', async ([labelIds, found]) => {
    const dimensions = { sequenceLength: 4, labelIds };
    const error = await refusal(shaped(t5), { model_type: 't5' }, 'FORMAT', dimensions);
    expect(error.message).toContain(`found ${found}`);
  });
});

describe('findConfig', () => {
  it('reads config.json beside the weights, or the file that the user names', async () => {
    await put(at('model', 'weights.pt'), '');
    const none = await failure(findConfig(at('model', 'weights.pt')), 'NOT_FOUND');
    expect(none.remedy).toContain('--config');
    await put(at('model', 'open_clip_config.json'), '{"model_cfg":{}}');
    expect(await findConfig(at('model'))).toEqual({ model_cfg: {} });
    await put(at('model', 'config.json'), '{"model_type":"vit"}');
    expect(await findConfig(at('model', 'weights.pt'))).toEqual({ model_type: 'vit' });
    await put(at('other.json'), '{"a":1}');
    expect(await findConfig(at('model'), at('other.json'))).toEqual({ a: 1 });
  });

  it('refuses what is no config', async () => {
    await failure(findConfig(at('nowhere')), 'NOT_FOUND');
    await failure(findConfig(at('model'), at('nowhere.json')), 'NOT_FOUND');
    for (const text of ['{', '[]', '{"a":1,"a":2}']) {
      await put(at('bad.json'), text);
      const error = await failure(findConfig(at('model'), at('bad.json')), 'FORMAT');
      expect(error.file).toBe(at('bad.json'));
    }
  });
});
