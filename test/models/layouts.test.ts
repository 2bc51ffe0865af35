import { describe, expect, it } from 'vitest';
import { buildNetwork, type Dimensions, type Network } from '../../lib/models/index.js';
import { bucket } from '../../lib/models/t5.js';
import {
  checkpointOf,
  fuse,
  type MadeUp,
  makeUp,
  randomNumbers,
  renamed,
  type Tensors,
  transposed,
  weightsOf,
} from './made_up.js';
import { erf, type ReferenceInput, runReference } from './reference.js';

// The layouts that have no reference case are held to one that has: the same network under other names.

const D = 8;
const HIDDEN = 12;

function random(shape: number[], seed: number): ReferenceInput {
  const next = randomNumbers(seed);
  const length = shape.reduce((n, d) => n * d, 1);
  return { shape, data: Float64Array.from({ length }, () => 2 * next()) };
}

function logitsOf(
  tensors: Tensors,
  config: unknown,
  inputs: Record<string, ReferenceInput>,
  dimensions: Dimensions = {},
): Float64Array {
  const network = buildNetwork(checkpointOf(tensors), config, dimensions);
  return runReference(network, weightsOf(tensors), inputs);
}

function expectClose(found: Float64Array, expected: Float64Array): void {
  expect(found.length).toBe(expected.length);
  const largest = expected.reduce((m, x) => Math.max(m, Math.abs(x)), 0);
  const spread = expected.reduce((m, x) => Math.max(m, Math.abs(x - (expected[0] as number))), 0);
  expect(spread / largest, 'the logits hardly differ').toBeGreaterThan(1e-3);
  for (const [i, x] of found.entries())
    expect(Math.abs(x - (expected[i] as number)) / largest).toBeLessThan(1e-12);
}

const affine = (name: string, out: number, inputs: number) => ({
  [`${name}.weight`]: [out, inputs],
  [`${name}.bias`]: [out],
});
const norm = (name: string) => ({ [`${name}.weight`]: [D], [`${name}.bias`]: [D] });

function vitShapes(): Record<string, number[]> {
  const shapes: Record<string, number[]> = {
    'vit.embeddings.cls_token': [1, 1, D],
    'vit.embeddings.position_embeddings': [1, 5, D],
    'vit.embeddings.patch_embeddings.projection.weight': [D, 3, 4, 4],
    'vit.embeddings.patch_embeddings.projection.bias': [D],
    ...norm('vit.layernorm'),
    ...affine('classifier', 4, D),
  };
  for (const layer of ['vit.encoder.layer.0', 'vit.encoder.layer.1']) {
    Object.assign(shapes, norm(`${layer}.layernorm_before`), norm(`${layer}.layernorm_after`));
    for (const name of ['query', 'key', 'value'])
      Object.assign(shapes, affine(`${layer}.attention.attention.${name}`, D, D));
    Object.assign(shapes, affine(`${layer}.attention.output.dense`, D, D));
    Object.assign(shapes, affine(`${layer}.intermediate.dense`, HIDDEN, D));
    Object.assign(shapes, affine(`${layer}.output.dense`, D, HIDDEN));
  }
  return shapes;
}

const VIT = {
  model_type: 'vit',
  architectures: ['ViTForImageClassification'],
  hidden_size: D,
  num_attention_heads: 2,
  num_hidden_layers: 2,
  intermediate_size: HIDDEN,
  image_size: 8,
  patch_size: 4,
  layer_norm_eps: 1e-6,
};
const IMAGES = { pixel_values: random([3, 3, 8, 8], 5) };

const TIMM = {
  architecture: 'vit_tiny_patch4_8',
  model_args: { img_size: 8, num_heads: 2, embed_dim: D },
};

/** transformers' ViT as timm stores it. */
function asTimm(vit: Tensors): Tensors {
  const timm = renamed(vit, (name) =>
    name
      .replace('vit.embeddings.cls_token', 'cls_token')
      .replace('vit.embeddings.position_embeddings', 'pos_embed')
      .replace('vit.embeddings.patch_embeddings.projection', 'patch_embed.proj')
      .replace('vit.layernorm', 'norm')
      .replace('classifier', 'head')
      .replace('vit.encoder.layer', 'blocks')
      .replace('layernorm_before', 'norm1')
      .replace('layernorm_after', 'norm2')
      .replace('attention.output.dense', 'attn.proj')
      .replace('intermediate.dense', 'mlp.fc1')
      .replace('output.dense', 'mlp.fc2'),
  );
  for (const i of [0, 1])
    for (const part of ['weight', 'bias']) {
      const names = ['query', 'key', 'value'];
      const fused = fuse(
        timm,
        names.map((n) => `blocks.${i}.attention.attention.${n}.${part}`),
      );
      timm.set(`blocks.${i}.attn.qkv.${part}`, fused);
    }
  return timm;
}

describe('vision transformers', () => {
  const tensors = makeUp(vitShapes());
  const expected = logitsOf(tensors, VIT, IMAGES);

  it('names may lack "vit." and have a wrapper’s prefix; weights keep their stored names', () => {
    const bare = renamed(tensors, (name) => `module._orig_mod.${name.replace('vit.', '')}`);
    expectClose(logitsOf(bare, VIT, IMAGES), expected);
    const { graph } = buildNetwork(checkpointOf(bare), VIT);
    expect(new Set(graph.weights.map((w) => w.name))).toEqual(new Set(bare.keys()));
  });

  it('without biases of q, k and v', () => {
    const zeroed = new Map(
      [...tensors].map(([name, t]): [string, MadeUp] =>
        /attention\.attention\.\w+\.bias/.test(name)
          ? [name, { ...t, data: new Float64Array(t.data.length) }]
          : [name, t],
      ),
    );
    const without = renamed(zeroed, (n) => (/attention\.attention\.\w+\.bias/.test(n) ? null : n));
    const biasFree = logitsOf(without, { ...VIT, qkv_bias: false }, IMAGES);
    expectClose(biasFree, logitsOf(zeroed, VIT, IMAGES));
  });

  it('timm: fused q, k and v', () => {
    expectClose(logitsOf(asTimm(tensors), TIMM, IMAGES), expected);
  });

  it('timm: positions for the patches only, as in DeiT III', () => {
    const timm = asTimm(tensors);
    const position = (timm.get('pos_embed') as MadeUp).data;
    const token = (timm.get('cls_token') as MadeUp).data;
    timm.set('pos_embed', { shape: [1, 4, D], data: position.slice(D) });
    timm.set('cls_token', {
      shape: [1, 1, D],
      data: token.map((x, i) => x + (position[i] as number)),
    });
    const config = { ...TIMM, architecture: 'deit3_small_patch4_8' };
    expectClose(logitsOf(timm, config, IMAGES), expected);
  });

  it('timm: LayerScale', () => {
    const timm = asTimm(tensors);
    for (const i of [0, 1])
      for (const [branch, module] of [
        ['ls1', 'attn.proj'],
        ['ls2', 'mlp.fc2'],
      ]) {
        timm.set(`blocks.${i}.${branch}.gamma`, { shape: [D], data: new Float64Array(D).fill(2) });
        for (const part of ['weight', 'bias']) {
          const name = `blocks.${i}.${module}.${part}`;
          const t = timm.get(name) as MadeUp;
          timm.set(name, { ...t, data: t.data.map((x) => x / 2) });
        }
      }
    expectClose(logitsOf(timm, TIMM, IMAGES), expected);
  });

  it('timm: pooling, norms and activations by config, name and tensors', () => {
    const build = (tensors: Tensors, config: unknown): Network =>
      buildNetwork(checkpointOf(tensors), config);
    const kinds = (network: Network) => network.graph.ops.map((op) => op.op);
    const averaged = renamed(asTimm(tensors), (n) => n.replace(/^norm\./, 'fc_norm.'));
    const pooled = build(averaged, TIMM).graph.ops.slice(-3);
    expect(pooled).toMatchObject([{ op: 'mean_rows', from: 1 }, { op: 'layer_norm' }, {}]);
    const early = build(asTimm(tensors), { ...TIMM, global_pool: 'avg' }).graph.ops.slice(-3);
    expect(early).toMatchObject([{ op: 'layer_norm' }, { op: 'mean_rows', from: 1 }, {}]);

    const clip = asTimm(tensors);
    clip.delete('patch_embed.proj.bias');
    clip.set('norm_pre.weight', { shape: [D], data: new Float64Array(D) });
    clip.set('norm_pre.bias', { shape: [D], data: new Float64Array(D) });
    const quick = build(clip, { ...TIMM, architecture: 'vit_base_patch32_clip_quickgelu_224' });
    expect(kinds(quick).slice(0, 5)).toEqual([
      'patches',
      'linear',
      'prepend_row',
      'add_rows',
      'layer_norm',
    ]);
    expect(quick.graph.ops[4]).toMatchObject({ epsilon: 1e-5 });
    expect(quick.graph.ops.some((op) => 'activation' in op && op.activation === 'quick_gelu')).toBe(
      true,
    );

    const register = asTimm(tensors);
    register.set('reg_token', { shape: [1, 1, D], data: new Float64Array(D) });
    register.set('pos_embed', { shape: [1, 4, D], data: new Float64Array(4 * D) });
    const withRegister = build(register, { ...TIMM, global_pool: 'avg' });
    expect(withRegister.graph.ops.find((op) => op.op === 'mean_rows')).toMatchObject({ from: 2 });
  });

  it.for([
    ['tiny_patch16', 3],
    ['small_patch16', 6],
    ['base_patch16', 12],
    ['base_patch16_gap', 16],
    ['base_patch16_plus', 14],
    ['gigantic_patch14', 16],
  ] as const)('timm: heads of vit_%s_224', ([name, heads]) => {
    const wide = 336;
    const shapes = Object.fromEntries(
      [...asTimm(tensors)].map(([n, t]) => [
        n,
        n.startsWith('head.') && t.shape.length === 1
          ? t.shape
          : t.shape.map((d) => (d === D ? wide : d === 3 * D ? 3 * wide : d)),
      ]),
    );
    const table = new Map(Object.entries(shapes).map(([n, shape]) => [n, { shape }]));
    const { graph } = buildNetwork(checkpointOf(table), {
      architecture: `vit_${name}_224`,
      pretrained_cfg: { input_size: [3, 8, 8] },
    });
    expect(graph.ops.find((op) => op.op === 'attention')).toMatchObject({
      heads,
      width: wide / heads,
    });
  });
});

function clipShapes(): Record<string, number[]> {
  const shapes: Record<string, number[]> = {
    logit_scale: [],
    'visual_projection.weight': [6, D],
    'text_projection.weight': [6, D],
    'vision_model.embeddings.class_embedding': [D],
    'vision_model.embeddings.patch_embedding.weight': [D, 3, 4, 4],
    'vision_model.embeddings.position_embedding.weight': [5, D],
    'text_model.embeddings.token_embedding.weight': [20, D],
    'text_model.embeddings.position_embedding.weight': [10, D],
    ...norm('vision_model.pre_layrnorm'),
    ...norm('vision_model.post_layernorm'),
    ...norm('text_model.final_layer_norm'),
  };
  for (const tower of ['vision_model', 'text_model']) {
    const layer = `${tower}.encoder.layers.0`;
    Object.assign(shapes, norm(`${layer}.layer_norm1`), norm(`${layer}.layer_norm2`));
    for (const name of ['q_proj', 'k_proj', 'v_proj', 'out_proj'])
      Object.assign(shapes, affine(`${layer}.self_attn.${name}`, D, D));
    Object.assign(shapes, affine(`${layer}.mlp.fc1`, HIDDEN, D));
    Object.assign(shapes, affine(`${layer}.mlp.fc2`, D, HIDDEN));
  }
  return shapes;
}

const TOWER = {
  hidden_size: D,
  num_attention_heads: 2,
  num_hidden_layers: 1,
  intermediate_size: HIDDEN,
};
const CLIP = {
  model_type: 'clip',
  vision_config: { ...TOWER, image_size: 8, patch_size: 4 },
  text_config: { ...TOWER, vocab_size: 20, max_position_embeddings: 10, eos_token_id: 19 },
};
const PROMPTS = {
  class_input_ids: {
    shape: [2, 6],
    data: [18, 3, 4, 19, 0, 0, 18, 7, 8, 9, 19, 0],
  },
  class_attention_mask: { shape: [2, 6], data: [1, 1, 1, 1, 0, 0, 1, 1, 1, 1, 1, 0] },
};
const CLASSES = { classes: { n: 2, sequenceLength: 6 } };

/** transformers' CLIP as open_clip stores it. */
function asOpenClip(clip: Tensors): Tensors {
  const out = renamed(clip, (name) =>
    name
      .replace('vision_model.embeddings.class_embedding', 'visual.class_embedding')
      .replace('vision_model.embeddings.patch_embedding', 'visual.conv1')
      .replace('vision_model.embeddings.position_embedding.weight', 'visual.positional_embedding')
      .replace('text_model.embeddings.token_embedding', 'token_embedding')
      .replace('text_model.embeddings.position_embedding.weight', 'positional_embedding')
      .replace('vision_model.pre_layrnorm', 'visual.ln_pre')
      .replace('vision_model.post_layernorm', 'visual.ln_post')
      .replace('text_model.final_layer_norm', 'ln_final')
      .replace('vision_model.encoder.layers', 'visual.transformer.resblocks')
      .replace('text_model.encoder.layers', 'transformer.resblocks')
      .replace('self_attn.out_proj', 'attn.out_proj')
      .replace('layer_norm', 'ln_')
      .replace('mlp.fc1', 'mlp.c_fc')
      .replace('mlp.fc2', 'mlp.c_proj'),
  );
  for (const tower of ['visual.transformer', 'transformer'])
    for (const part of ['weight', 'bias']) {
      const block = `${tower}.resblocks.0`;
      const names = ['q_proj', 'k_proj', 'v_proj'].map((n) => `${block}.self_attn.${n}.${part}`);
      out.set(`${block}.attn.in_proj_${part}`, fuse(out, names));
    }
  out.set('visual.proj', transposed(out.get('visual_projection.weight') as MadeUp));
  out.set('text_projection', transposed(out.get('text_projection.weight') as MadeUp));
  out.delete('visual_projection.weight');
  out.delete('text_projection.weight');
  return out;
}

const OPEN_CLIP = {
  embed_dim: 6,
  quick_gelu: true,
  vision_cfg: { image_size: 8, layers: 1, width: D, head_width: 4, patch_size: 4 },
  text_cfg: { context_length: 10, vocab_size: 20, width: D, heads: 2, layers: 1 },
};

describe('CLIP', () => {
  const tensors = makeUp(clipShapes(), 3);
  const inputs = { ...IMAGES, ...PROMPTS };
  const expected = logitsOf(tensors, CLIP, inputs, CLASSES);

  it('old configs mean the largest id by the end token 2', () => {
    const old = { ...CLIP, text_config: { ...CLIP.text_config, eos_token_id: 2 } };
    expectClose(logitsOf(tensors, old, inputs, CLASSES), expected);
  });

  it('padding after the end token plays no part, so the mask may be left out', () => {
    const names = ['pixel_values', 'class_input_ids'];
    const dimensions = { ...CLASSES, inputs: names };
    expect(
      buildNetwork(checkpointOf(tensors), CLIP, dimensions).classes?.inputs.map((i) => i.name),
    ).toEqual(['class_input_ids']);
    expectClose(logitsOf(tensors, CLIP, inputs, dimensions), expected);
  });

  it('as open_clip stores it, flat or with the text tower in an attribute', () => {
    const open = asOpenClip(tensors);
    expectClose(logitsOf(open, OPEN_CLIP, inputs, CLASSES), expected);
    const hub = { model_cfg: OPEN_CLIP, preprocess_cfg: {} };
    const custom = renamed(open, (n) => (/^(visual|logit)/.test(n) ? n : `text.${n}`));
    expectClose(logitsOf(custom, hub, inputs, CLASSES), expected);
  });

  it('a head over the image’s features, whatever is left of the text tower', () => {
    const open = asOpenClip(tensors);
    const head = makeUp({ 'classification_head.weight': [3, 6] });
    const soups = renamed(open, (n) => (/^transformer\./.test(n) ? null : `model.${n}`));
    for (const [name, t] of head) soups.set(name, t);
    const logits = logitsOf(soups, OPEN_CLIP, IMAGES);
    expect(logits.length).toBe(3 * 3);
    const weights = weightsOf(head).get('classification_head.weight') as Float64Array;
    // Features of length 1: no logit is longer than its row of the head.
    for (let c = 0; c < 3; c++) {
      const length = Math.hypot(...weights.slice(c * 6, c * 6 + 6));
      for (let b = 0; b < 3; b++)
        expect(Math.abs(logits[b * 3 + c] as number)).toBeLessThanOrEqual(length);
    }
  });
});

function bertShapes(): Record<string, number[]> {
  const shapes: Record<string, number[]> = {
    'bert.embeddings.word_embeddings.weight': [20, D],
    'bert.embeddings.position_embeddings.weight': [9, D],
    'bert.embeddings.token_type_embeddings.weight': [2, D],
    ...norm('bert.embeddings.LayerNorm'),
    ...affine('bert.pooler.dense', D, D),
    ...affine('classifier', 3, D),
  };
  const layer = 'bert.encoder.layer.0';
  for (const name of ['query', 'key', 'value'])
    Object.assign(shapes, affine(`${layer}.attention.self.${name}`, D, D));
  Object.assign(shapes, affine(`${layer}.attention.output.dense`, D, D));
  Object.assign(shapes, affine(`${layer}.intermediate.dense`, HIDDEN, D));
  Object.assign(shapes, affine(`${layer}.output.dense`, D, HIDDEN));
  Object.assign(shapes, norm(`${layer}.attention.output.LayerNorm`));
  Object.assign(shapes, norm(`${layer}.output.LayerNorm`));
  return shapes;
}

const BERT = {
  model_type: 'bert',
  architectures: ['BertForSequenceClassification'],
  hidden_size: D,
  num_attention_heads: 2,
  num_hidden_layers: 1,
  intermediate_size: HIDDEN,
  vocab_size: 20,
  max_position_embeddings: 9,
};
const TEXTS = {
  input_ids: { shape: [2, 4], data: [1, 5, 6, 7, 1, 9, 0, 0] },
  attention_mask: { shape: [2, 4], data: [1, 1, 1, 1, 1, 1, 0, 0] },
  token_type_ids: { shape: [2, 4], data: [0, 0, 0, 0, 0, 0, 0, 0] },
};

describe('BERT', () => {
  const tensors = makeUp(bertShapes(), 4);
  const expected = logitsOf(tensors, BERT, TEXTS, { sequenceLength: 4 });

  it('norms named gamma and beta, names without "bert."', () => {
    const old = renamed(tensors, (name) =>
      name
        .replace('bert.', '')
        .replace('LayerNorm.weight', 'LayerNorm.gamma')
        .replace('LayerNorm.bias', 'LayerNorm.beta'),
    );
    expectClose(logitsOf(old, BERT, TEXTS, { sequenceLength: 4 }), expected);
  });

  it('token types that the data lacks are 0', () => {
    const inputs = ['input_ids', 'attention_mask'];
    expectClose(logitsOf(tensors, BERT, TEXTS, { sequenceLength: 4, inputs }), expected);
  });

  it('hidden tokens play no part', () => {
    const other = { ...TEXTS, input_ids: { shape: [2, 4], data: [1, 5, 6, 7, 1, 9, 13, 2] } };
    expectClose(logitsOf(tensors, BERT, other, { sequenceLength: 4 }), expected);
  });
});

function t5Shapes(): Record<string, number[]> {
  const shapes: Record<string, number[]> = {
    'shared.weight': [20, D],
    'encoder.final_layer_norm.weight': [D],
    'decoder.final_layer_norm.weight': [D],
  };
  for (const [stack, cross] of [
    ['encoder', false],
    ['decoder', true],
  ] as const) {
    const layer = `${stack}.block.0.layer`;
    shapes[`${layer}.0.SelfAttention.relative_attention_bias.weight`] = [8, 2];
    for (const module of ['0.SelfAttention', ...(cross ? ['1.EncDecAttention'] : [])])
      for (const name of ['q', 'k', 'v', 'o']) shapes[`${layer}.${module}.${name}.weight`] = [D, D];
    const last = cross ? 2 : 1;
    for (let i = 0; i <= last; i++) shapes[`${layer}.${i}.layer_norm.weight`] = [D];
    shapes[`${layer}.${last}.DenseReluDense.wi.weight`] = [HIDDEN, D];
    shapes[`${layer}.${last}.DenseReluDense.wo.weight`] = [D, HIDDEN];
  }
  return shapes;
}

const T5 = {
  model_type: 't5',
  d_model: D,
  d_kv: 4,
  d_ff: HIDDEN,
  num_layers: 1,
  num_heads: 2,
  relative_attention_num_buckets: 8,
};

describe('T5', () => {
  const tensors = makeUp(t5Shapes(), 6);
  const inputs = { input_ids: TEXTS.input_ids, attention_mask: TEXTS.attention_mask };
  const labelIds = [
    [3, 1, 0],
    [4, 5, 1],
  ];
  const dimensions = { sequenceLength: 4, labelIds };
  const expected = logitsOf(tensors, T5, inputs, dimensions);

  it('tied tables count once, under the first stored name', () => {
    const twice = new Map(tensors);
    twice.set('lm_head.weight', tensors.get('shared.weight') as MadeUp);
    twice.set('encoder.embed_tokens.weight', tensors.get('shared.weight') as MadeUp);
    const tied = [['encoder.embed_tokens.weight', 'lm_head.weight', 'shared.weight']];
    const network = buildNetwork(checkpointOf(twice, tied), T5, dimensions);
    expectClose(runReference(network, weightsOf(twice), inputs), expected);
    expect(network.graph.weights.filter((w) => w.shape[0] === 20)).toEqual([
      { name: 'encoder.embed_tokens.weight', shape: [20, D] },
    ]);
  });

  it('the output is scaled by what the config says, else where it is tied', () => {
    const scaled = (config: object) =>
      buildNetwork(checkpointOf(tensors), { ...T5, ...config }, dimensions).graph.ops.some(
        (op) => op.op === 'scale',
      );
    expect(scaled({})).toBe(true);
    expect(scaled({ scale_decoder_outputs: false })).toBe(false);
    const untied = new Map(tensors);
    untied.set('lm_head.weight', tensors.get('shared.weight') as MadeUp);
    const { graph } = buildNetwork(
      checkpointOf(untied),
      { ...T5, tie_word_embeddings: false },
      dimensions,
    );
    expect(graph.ops.some((op) => op.op === 'scale')).toBe(false);
    expect(graph.weights.map((w) => w.name)).toContain('lm_head.weight');
  });

  it('a word’s logit does not depend on the other words', () => {
    const alone = logitsOf(tensors, T5, inputs, { sequenceLength: 4, labelIds: [[3, 1]] });
    for (const b of [0, 1]) expect(alone[b]).toBeCloseTo(expected[b * 2] as number, 12);
  });

  it('buckets of relative positions', () => {
    const of = (...positions: number[]) => positions.map((p) => bucket(p, true, 32, 128));
    expect(of(0, 1, -1, 7, -7, -8, 8)).toEqual([0, 17, 1, 23, 7, 8, 24]);
    expect(of(-15, -16, -31, -32, -63, -64, -128, 5000)).toEqual([9, 10, 11, 12, 13, 14, 15, 31]);
    const causal = (...positions: number[]) => positions.map((p) => bucket(p, false, 32, 128));
    expect(causal(3, 0, -1, -15, -16, -128, -5000)).toEqual([0, 0, 1, 15, 16, 31, 31]);
  });
});

describe('the reference', () => {
  it('erf', () => {
    expect(erf(0)).toBe(0);
    expect(erf(0.5)).toBeCloseTo(0.5204998778130465, 15);
    expect(erf(-1)).toBeCloseTo(-0.8427007929497149, 15);
    expect(erf(3)).toBeCloseTo(0.9999779095030014, 15);
    expect(erf(7)).toBe(1);
  });
});
