import { GraphBuilder } from './builder.js';
import type { Config } from './config.js';
import { checkLength, type Family, needed } from './family.js';
import type { Activation, Graph, ValueId } from './graph.js';
import { preNormBlock } from './transformer.js';
import { Weights } from './weights.js';

/** PyTorch's LayerNorm. */
const EPSILON = 1e-5;

/** What an OpenAI state dict has beside its weights, and the buffers of open_clip. */
const BUFFERS = [/^(input_resolution|context_length|vocab_size)$/, /(^|\.)attn_mask$/];
/** The rest of a CLIP whose image tower classifies through a head of its own. */
const TEXT_TOWER = [
  /^(text\.)?(transformer|ln_final)\./,
  /^(text\.)?(positional_embedding|token_embedding\.weight|text_projection)$/,
  /^logit_(scale|bias)$/,
];

/**
 * CLIP as open_clip and OpenAI store it (open_clip/transformer.py, `VisionTransformer` and `TextTransformer`): with a
 * `classification_head` the fine-tuned classifier of the model soups (Wortsman et al. 2022; `ModelWrapper` in the
 * official code, which divides the image's features by their length before the head), else zero-shot.
 */
export const openClip: Family = ({ checkpoint, config, dimensions }) => {
  const settings = config.has('model_cfg') ? config.section('model_cfg') : config;
  // The image tower may lie in a wrapper's attribute beside the head: `model.visual.…` and `classification_head.…`.
  const names = [...checkpoint.tensors.keys()];
  const wrapper = names
    .map((name) => /((?:image_encoder\.)?model\.)visual\.conv1\.weight$/.exec(name)?.[1])
    .find((found) => found !== undefined);
  const hasHead = names.some((name) => name.endsWith('classification_head.weight'));
  const weights = new Weights(
    checkpoint,
    hasHead ? 'CLIP with a classification head (model soups)' : 'CLIP (open_clip)',
    (name) => (wrapper && name.startsWith(wrapper) ? name.slice(wrapper.length) : name),
  );
  const activation: Activation = settings.flag('quick_gelu', false) ? 'quick_gelu' : 'gelu';
  const features = settings.positive('embed_dim');

  const g = new GraphBuilder(weights);
  const image = g.l2Normalize(imageTower(g, settings.section('vision_cfg'), features, activation));
  if (hasHead) {
    const [numClasses = 0] = weights.shape('classification_head.weight', 2);
    const bias = weights.has('classification_head.bias');
    const logits = g.linear(
      image,
      {
        weight: 'classification_head.weight',
        ...(bias && { bias: 'classification_head.bias' }),
      },
      { columns: numClasses },
    );
    weights.finish([...BUFFERS, ...TEXT_TOWER]);
    return { graph: g.finish(logits), numClasses };
  }

  const size = needed(dimensions.classes, checkpoint.path, 'class_input_ids, one prompt a class');
  const text = new GraphBuilder(weights);
  const classes = textTower(
    text,
    settings.section('text_cfg'),
    size.sequenceLength,
    features,
    activation,
  );
  const known = g.input('class_features', 'f32', [size.n, features], true);
  const logits = g.similarity(g.scaleByExp(image, 'logit_scale'), known);
  weights.finish(BUFFERS);
  return { graph: g.finish(logits), classes, numClasses: size.n };
};

/** Settings of a tower that change what is computed, with the value they have in a plain one. */
const PLAIN: Readonly<Record<string, unknown>> = {
  timm_model_name: undefined,
  hf_model_name: undefined,
  attentional_pool: false,
  input_patchnorm: false,
  no_ln_pre: false,
  pos_embed_type: 'learnable',
  embed_cls: false,
  no_causal_mask: false,
  proj_type: 'linear',
  proj_bias: false,
  act_kwargs: undefined,
  norm_kwargs: undefined,
  block_type: undefined,
  qk_norm: false,
};

function refuseUnusual(config: Config, tower: string): void {
  for (const [key, plain] of Object.entries(PLAIN)) {
    const value = config.raw(key);
    if (value !== undefined && value !== plain) {
      throw config.unsupported(`${tower} ${key} ${JSON.stringify(value)}`);
    }
  }
}

function resblocks(
  g: GraphBuilder,
  x: ValueId,
  name: string,
  options: { layers: number; heads: number; activation: Activation; causal?: boolean },
): ValueId {
  let z = x;
  const depth = g.weights.depth(`${name}.resblocks.`, options.layers);
  for (let i = 0; i < depth; i++) {
    const block = `${name}.resblocks.${i}`;
    const [hidden = 0] = g.weights.shape(`${block}.mlp.c_fc.weight`, 2);
    z = preNormBlock(g, z, {
      epsilon: EPSILON,
      heads: options.heads,
      activation: options.activation,
      causal: options.causal,
      hidden,
      norm1: `${block}.ln_1`,
      attention: {
        qkv: { weight: `${block}.attn.in_proj_weight`, bias: `${block}.attn.in_proj_bias` },
      },
      output: `${block}.attn.out_proj`,
      norm2: `${block}.ln_2`,
      up: `${block}.mlp.c_fc`,
      down: `${block}.mlp.c_proj`,
      ...(g.weights.has(`${block}.ls_1.gamma`) && {
        scales: [`${block}.ls_1.gamma`, `${block}.ls_2.gamma`] as const,
      }),
    });
  }
  return z;
}

/** One row of `features`, not yet normalised. */
function imageTower(
  g: GraphBuilder,
  config: Config,
  features: number,
  activation: Activation,
): ValueId {
  refuseUnusual(config, 'an image tower with');
  if (typeof config.raw('layers') !== 'number') throw config.unsupported('a ResNet image tower');
  const columns = config.positive('width', 768);
  const headWidth = config.positive('head_width', 64);
  if (columns % headWidth !== 0) {
    throw config.unsupported(`heads of ${headWidth} over a width of ${columns}`);
  }
  const [height, width] = config.size('image_size', [224, 224]);
  const patch = config.positive('patch_size', 16);
  const image = g.input('pixel_values', 'f32', [3, height, width]);
  let z = g.linear(
    g.patches(image, patch),
    { weight: 'visual.conv1.weight' },
    { columns, shape: [columns, 3, patch, patch] },
  );
  z = g.prependRow(z, 'visual.class_embedding', [columns]);
  z = g.addRows(z, 'visual.positional_embedding', [g.rows(z), columns]);
  z = g.layerNorm(z, 'visual.ln_pre', EPSILON);
  z = resblocks(g, z, 'visual.transformer', {
    layers: config.positive('layers', 12),
    heads: columns / headWidth,
    activation,
  });
  const pooling = config.text('pool_type', 'tok');
  const norm = (x: ValueId) => g.layerNorm(x, 'visual.ln_post', EPSILON);
  let pooled: ValueId;
  if (pooling === 'tok') pooled = norm(g.selectRow(z, 0));
  else if (pooling !== 'avg') throw config.unsupported(`the pooling "${pooling}"`);
  else if (config.flag('final_ln_after_pool', false)) pooled = norm(g.meanRows(z, 1));
  else pooled = g.meanRows(norm(z), 1);
  return g.linear(pooled, { weight: 'visual.proj' }, { columns: features, transposed: true });
}

/** The classes' features, one row a class, of length 1. */
function textTower(
  g: GraphBuilder,
  config: Config,
  sequence: number,
  features: number,
  activation: Activation,
): Graph {
  refuseUnusual(config, 'a text tower with');
  const columns = config.positive('width', 512);
  const heads = config.positive('heads', 8);
  if (columns % heads !== 0) throw config.unsupported(`${heads} heads over a width of ${columns}`);
  const maximum = config.positive('context_length', 77);
  checkLength(g.weights.checkpoint.path, 'class_input_ids', sequence, maximum);
  // `CustomTextCLIP` keeps the text tower in an attribute of its own.
  const at = g.weights.has('text.token_embedding.weight') ? 'text.' : '';
  const ids = g.input('class_input_ids', 'i32', [sequence]);
  const vocabulary = config.positive('vocab_size', 49408);
  let z = g.embedding(ids, `${at}token_embedding.weight`, vocabulary, columns);
  z = g.addRows(z, `${at}positional_embedding`, [maximum, columns]);
  z = resblocks(g, z, `${at}transformer`, {
    layers: config.positive('layers', 12),
    heads,
    activation,
    causal: true,
  });
  // The end token is the one with the largest id.
  const pooling = config.text('pool_type', 'argmax');
  if (pooling === 'argmax') z = g.selectRowById(z, ids, null);
  else if (pooling === 'eos') z = g.selectRowById(z, ids, config.integer('eos_id', 2));
  else if (pooling === 'last') z = g.selectRow(z, sequence - 1);
  else if (pooling === 'first') z = g.selectRow(z, 0);
  else throw config.unsupported(`the pooling "${pooling}" of the text tower`);
  z = g.layerNorm(z, `${at}ln_final`, EPSILON);
  z = g.linear(z, { weight: `${at}text_projection` }, { columns: features, transposed: true });
  return g.finish(g.l2Normalize(z));
}
