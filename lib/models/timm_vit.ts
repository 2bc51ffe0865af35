import { GraphBuilder } from './builder.js';
import type { Config } from './config.js';
import { type Family, headWidth } from './family.js';
import type { ValueId } from './graph.js';
import { preNormBlock } from './transformer.js';
import { Weights } from './weights.js';

/** Heads of timm's models by the word for their size, where the config's `model_args` give none (vision_transformer.py, deit.py). */
const HEADS: Readonly<Record<string, number>> = {
  tiny: 3,
  xsmall: 4,
  wee: 4,
  little: 5,
  small: 6,
  medium: 8,
  mediumd: 8,
  betwixt: 10,
  base: 12,
  so150m2: 13,
  so150m: 14,
  large: 16,
  huge: 16,
  giant: 16,
  giantopt: 16,
  gigantic: 16,
  so400m: 16,
  intern300m: 16,
};

/**
 * Architectures whose tensors are named like a plain ViT's, but which compute something else: rotary positions,
 * normalisation after each branch, convolutional stems, blocks in parallel, relative positions.
 */
const OTHERS =
  /(_rope|_rpn_|^vit_pe_|_dinov3|_mci_|_resnet|_r\d+_s\d+_|relpos|_x[p\d]_|\d+x[2-9]_|_distilled_)/;

/** `model_args` that the tensors show or that matter in training only; any other is refused. */
const KNOWN_ARGS =
  /^(img_size|patch_size|in_chans|num_classes|global_pool|embed_dim|depth|num_heads|mlp_ratio|qkv_bias|qk_norm|proj_bias|init_values|class_token|no_embed_class|reg_tokens|pre_norm|final_norm|fc_norm|dynamic_img_size|strict_img_size|act_layer|weight_init|fix_init|.*drop.*_rate|drop_rate)$/;

/**
 * The Vision Transformer as timm stores it: `VisionTransformer` of timm/models/vision_transformer.py, from
 * ViT-Ti to ViT-G/14 (Zhai et al. 2022, "Scaling Vision Transformers"), DeiT and DeiT III. What the tensors show, they
 * decide (class token, LayerScale, norms, widths); the architecture's name and `model_args` decide the rest.
 */
export const timmVit: Family = ({ checkpoint, config }) => {
  const architecture = config.text('architecture');
  const weights = new Weights(checkpoint, `ViT (timm, ${architecture})`);
  const g = new GraphBuilder(weights);
  const args = config.section('model_args');
  const unknown = args.keys().find((key) => !KNOWN_ARGS.test(key));
  if (!/^(vit|deit3?|flexivit)_/.test(architecture) || OTHERS.test(architecture)) {
    throw config.unsupported(`the timm architecture ${architecture}`);
  }
  if (unknown !== undefined) throw config.unsupported(`the timm model argument ${unknown}`);

  const [columns, channels, patch, patchWidth] = weights.shape('patch_embed.proj.weight', 4) as [
    number,
    number,
    number,
    number,
  ];
  if (patch !== patchWidth) throw config.unsupported('patches that are not square');
  const heads = args.positive('num_heads', defaultHeads(architecture));
  headWidth(config, columns, heads);
  // timm's CLIP towers have PyTorch's LayerNorm with its usual epsilon, the others timm's.
  const epsilon = /_clip_/.test(architecture) ? 1e-5 : 1e-6;
  const activation = args.activation('act_layer', defaultActivation(architecture));

  const [height, width] = imageSize(config, args);
  const image = g.input('pixel_values', 'f32', [channels, height, width]);
  const bias = weights.has('patch_embed.proj.bias');
  let z = g.linear(
    g.patches(image, patch),
    { weight: 'patch_embed.proj.weight', ...(bias && { bias: 'patch_embed.proj.bias' }) },
    { columns, shape: [columns, channels, patch, patch] },
  );

  // A position for each patch (`no_embed_class`), or for the learned tokens before them too.
  const patches = g.rows(z);
  const [, positions = 0] = weights.shape('pos_embed', 3);
  const addPositions = (x: ValueId) => g.addRows(x, 'pos_embed', [1, g.rows(x), columns]);
  const patchesOnly = positions === patches;
  if (patchesOnly) z = addPositions(z);
  if (weights.has('reg_token')) {
    const [, registers = 0] = weights.shape('reg_token', 3);
    if (registers > 1) throw config.unsupported(`${registers} register tokens`);
    z = g.prependRow(z, 'reg_token', [1, 1, columns]);
  }
  const classToken = weights.has('cls_token');
  if (classToken) z = g.prependRow(z, 'cls_token', [1, 1, columns]);
  if (!patchesOnly) z = addPositions(z);
  const prefixTokens = g.rows(z) - patches;

  if (weights.has('norm_pre.weight')) z = g.layerNorm(z, 'norm_pre', epsilon);
  const depth = weights.depth('blocks.', args.has('depth') ? args.positive('depth') : undefined);
  for (let i = 0; i < depth; i++) {
    const block = `blocks.${i}`;
    const [hidden = 0] = weights.shape(`${block}.mlp.fc1.weight`, 2);
    const qkvBias = weights.has(`${block}.attn.qkv.bias`);
    z = preNormBlock(g, z, {
      epsilon,
      heads,
      activation,
      hidden,
      norm1: `${block}.norm1`,
      attention: {
        qkv: {
          weight: `${block}.attn.qkv.weight`,
          ...(qkvBias && { bias: `${block}.attn.qkv.bias` }),
        },
      },
      output: `${block}.attn.proj`,
      norm2: `${block}.norm2`,
      up: `${block}.mlp.fc1`,
      down: `${block}.mlp.fc2`,
      ...(weights.has(`${block}.ls1.gamma`) && {
        scales: [`${block}.ls1.gamma`, `${block}.ls2.gamma`] as const,
      }),
    });
  }

  // Pooling, with the last norm before it (`norm`) or after it (`fc_norm`).
  const pooling = globalPool(config, args, classToken, weights);
  const pool = (x: ValueId) =>
    pooling === 'token' ? g.selectRow(x, 0) : g.meanRows(x, prefixTokens);
  let y: ValueId;
  if (weights.has('fc_norm.weight')) y = g.layerNorm(pool(z), 'fc_norm', epsilon);
  else if (!args.flag('final_norm', !/^vit_intern/.test(architecture))) y = pool(z);
  // Each row is normalised by itself, so the class token's alone will do.
  else if (pooling === 'token') y = g.layerNorm(pool(z), 'norm', epsilon);
  else y = pool(g.layerNorm(z, 'norm', epsilon));

  const [numClasses = 0] = weights.shape('head.weight', 2);
  const logits = g.linear(y, 'head', { columns: numClasses });
  weights.finish();
  return { graph: g.finish(logits), numClasses };
};

function defaultHeads(architecture: string): number | undefined {
  if (/^vit_base_.*plus_/.test(architecture)) return 14;
  if (/^vit_base_patch16_gap_/.test(architecture)) return 16;
  return HEADS[architecture.split('_')[1] ?? ''];
}

function defaultActivation(architecture: string): string {
  if (/quickgelu/.test(architecture)) return 'quick_gelu';
  // SigLIP 2's new sizes came with the tanh form.
  return /^vit_(base_patch32|large_patch16|so400m_patch16|giantopt_patch16)_siglip_(gap_)?/.test(
    architecture,
  ) && !/^vit_large_patch16_siglip_(gap_)?(256|384)/.test(architecture)
    ? 'gelu_tanh'
    : 'gelu';
}

/** timm takes the size from the model's arguments, else from the pretrained config. */
function imageSize(config: Config, args: Config): [number, number] {
  if (args.has('img_size')) return args.size('img_size');
  const pretrained = config.section('pretrained_cfg');
  const input = pretrained.raw('input_size') ?? config.raw('input_size');
  if (Array.isArray(input) && input.length === 3) {
    const [, height, width] = input as unknown[];
    if (Number.isSafeInteger(height) && Number.isSafeInteger(width)) {
      return [height as number, width as number];
    }
  }
  return [224, 224];
}

function globalPool(
  config: Config,
  args: Config,
  classToken: boolean,
  weights: Weights,
): 'token' | 'avg' {
  const averaged = weights.has('fc_norm.weight') || !classToken;
  const pretrained = config
    .section('pretrained_cfg')
    .text('global_pool', averaged ? 'avg' : 'token');
  const pooling = args.text('global_pool', config.text('global_pool', pretrained));
  if (pooling === 'avg' || (pooling === 'token' && classToken)) return pooling;
  throw config.unsupported(`the pooling "${pooling}"${classToken ? '' : ' without a class token'}`);
}
