import { GraphBuilder } from './builder.js';
import type { Config } from './config.js';
import { checkLength, type Family, hasInput, headWidth, needed } from './family.js';
import type { Activation, Graph, InputId, ValueId } from './graph.js';
import { preNormBlock } from './transformer.js';
import { Weights } from './weights.js';

/**
 * CLIP (Radford et al. 2021, "Learning Transferable Visual Models From Natural Language Supervision", figure 3) as
 * transformers stores it, classifying without training: `CLIPModel` of models/clip/modeling_clip.py. The text tower makes
 * the classes' features of one prompt a class; the logits are exp(logit_scale) · cos(image, class).
 */
export const clip: Family = ({ checkpoint, config, dimensions }) => {
  const weights = new Weights(checkpoint, 'CLIP (transformers)');
  const size = needed(dimensions.classes, checkpoint.path, 'class_input_ids, one prompt a class');
  const textOptions = sectionOf(config, 'text_config');
  const visionOptions = sectionOf(config, 'vision_config');
  const [features = 0] = weights.shape('visual_projection.weight', 2);

  const text = new GraphBuilder(weights);
  const classFeatures = textTower(text, textOptions, size.sequenceLength, features, (g) =>
    hasInput(dimensions, 'class_attention_mask')
      ? g.input('class_attention_mask', 'i32', [size.sequenceLength])
      : undefined,
  );

  const g = new GraphBuilder(weights);
  const known = g.input('class_features', 'f32', [size.n, features], true);
  const image = g.linear(
    visionTower(g, visionOptions),
    { weight: 'visual_projection.weight' },
    { columns: features },
  );
  const scaled = g.scaleByExp(g.l2Normalize(image), 'logit_scale');
  const logits = g.similarity(scaled, known);
  weights.finish([/\.position_ids$/]);
  return { graph: g.finish(logits), classes: classFeatures, numClasses: size.n };
};

/** Old configs repeat a section as `NAME_dict`, which wins (CLIPConfig in configuration_clip.py). */
function sectionOf(config: Config, name: string): Config {
  return config.section(name).overriddenBy(config.section(`${name}_dict`));
}

interface Tower {
  columns: number;
  heads: number;
  hidden: number;
  layers: number;
  epsilon: number;
  activation: Activation;
}

function tower(
  config: Config,
  defaults: { columns: number; heads: number; hidden: number },
): Tower {
  const columns = config.positive('hidden_size', defaults.columns);
  const heads = config.positive('num_attention_heads', defaults.heads);
  headWidth(config, columns, heads);
  return {
    columns,
    heads,
    hidden: config.positive('intermediate_size', defaults.hidden),
    layers: config.positive('num_hidden_layers', 12),
    epsilon: config.real('layer_norm_eps', 1e-5),
    activation: config.activation('hidden_act', 'quick_gelu'),
  };
}

function blocks(
  g: GraphBuilder,
  x: ValueId,
  name: string,
  { heads, hidden, layers, epsilon, activation }: Tower,
  hiding: { causal?: boolean; mask?: InputId } = {},
): ValueId {
  let z = x;
  const depth = g.weights.depth(`${name}.encoder.layers.`, layers);
  for (let i = 0; i < depth; i++) {
    const layer = `${name}.encoder.layers.${i}`;
    z = preNormBlock(g, z, {
      epsilon,
      heads,
      activation,
      hidden,
      ...hiding,
      norm1: `${layer}.layer_norm1`,
      attention: {
        query: `${layer}.self_attn.q_proj`,
        key: `${layer}.self_attn.k_proj`,
        value: `${layer}.self_attn.v_proj`,
      },
      output: `${layer}.self_attn.out_proj`,
      norm2: `${layer}.layer_norm2`,
      up: `${layer}.mlp.fc1`,
      down: `${layer}.mlp.fc2`,
    });
  }
  return z;
}

/** The class token's features, before the projection. */
function visionTower(g: GraphBuilder, config: Config): ValueId {
  const options = tower(config, { columns: 768, heads: 12, hidden: 3072 });
  const { columns, epsilon } = options;
  const [height, width] = config.size('image_size', [224, 224]);
  const patch = config.positive('patch_size', 32);
  const channels = config.positive('num_channels', 3);
  const image = g.input('pixel_values', 'f32', [channels, height, width]);
  let z = g.linear(
    g.patches(image, patch),
    { weight: 'vision_model.embeddings.patch_embedding.weight' },
    { columns, shape: [columns, channels, patch, patch] },
  );
  z = g.prependRow(z, 'vision_model.embeddings.class_embedding', [columns]);
  const positions = 'vision_model.embeddings.position_embedding.weight';
  z = g.addRows(z, positions, [g.rows(z), columns]);
  // (sic)
  z = g.layerNorm(z, 'vision_model.pre_layrnorm', epsilon);
  z = blocks(g, z, 'vision_model', options);
  return g.layerNorm(g.selectRow(z, 0), 'vision_model.post_layernorm', epsilon);
}

/** The classes' features, one row a class, of length 1. */
function textTower(
  g: GraphBuilder,
  config: Config,
  sequence: number,
  features: number,
  maskInput: (g: GraphBuilder) => InputId | undefined,
): Graph {
  const options = tower(config, { columns: 512, heads: 8, hidden: 2048 });
  const { columns, epsilon } = options;
  const maximum = config.positive('max_position_embeddings', 77);
  checkLength(g.weights.checkpoint.path, 'class_input_ids', sequence, maximum);
  const ids = g.input('class_input_ids', 'i32', [sequence]);
  const mask = maskInput(g);
  const words = 'text_model.embeddings.token_embedding.weight';
  let z = g.embedding(ids, words, config.positive('vocab_size', 49408), columns);
  z = g.addRows(z, 'text_model.embeddings.position_embedding.weight', [maximum, columns]);
  z = blocks(g, z, 'text_model', options, { causal: true, mask });
  // The end token's row. Configs from before its id was corrected say 2, and mean the largest id (CLIPTextTransformer).
  const end = config.integer('eos_token_id', 49407);
  z = g.selectRowById(z, ids, end === 2 ? null : end);
  z = g.layerNorm(z, 'text_model.final_layer_norm', epsilon);
  z = g.linear(z, { weight: 'text_projection.weight' }, { columns: features });
  return g.finish(g.l2Normalize(z));
}
