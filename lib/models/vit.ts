import { GraphBuilder } from './builder.js';
import { type Family, headWidth } from './family.js';
import { preNormBlock } from './transformer.js';
import { Weights } from './weights.js';

/**
 * The Vision Transformer (Dosovitskiy et al. 2021, "An Image is Worth 16x16 Words") as transformers stores it:
 * `ViTForImageClassification` of models/vit/modeling_vit.py. The pooler plays no part in classification.
 */
export const vit: Family = ({ checkpoint, config }) => {
  const weights = new Weights(checkpoint, 'ViT (transformers)', (name) =>
    name.replace(/^vit\./, ''),
  );
  const g = new GraphBuilder(weights);
  const columns = config.positive('hidden_size', 768);
  const heads = config.positive('num_attention_heads', 12);
  headWidth(config, columns, heads);
  const epsilon = config.real('layer_norm_eps', 1e-12);
  const hidden = config.positive('intermediate_size', 3072);
  const activation = config.activation('hidden_act', 'gelu');
  const qkvBias = config.flag('qkv_bias', true);
  const [height, width] = config.size('image_size', [224, 224]);
  const [patch, patchWidth] = config.size('patch_size', [16, 16]);
  if (patch !== patchWidth) throw config.unsupported('patches that are not square');
  const channels = config.positive('num_channels', 3);

  // Equation 1: z = [class; x¹E; …; xᴺE] + E_pos
  const image = g.input('pixel_values', 'f32', [channels, height, width]);
  let z = g.linear(g.patches(image, patch), 'embeddings.patch_embeddings.projection', {
    columns,
    shape: [columns, channels, patch, patch],
  });
  z = g.prependRow(z, 'embeddings.cls_token', [1, 1, columns]);
  z = g.addRows(z, 'embeddings.position_embeddings', [1, g.rows(z), columns]);

  // Equations 2 and 3
  const depth = weights.depth('encoder.layer.', config.positive('num_hidden_layers', 12));
  for (let i = 0; i < depth; i++) {
    const layer = `encoder.layer.${i}`;
    const projection = (name: string) => {
      const module = `${layer}.attention.attention.${name}`;
      return qkvBias ? module : { weight: `${module}.weight` };
    };
    z = preNormBlock(g, z, {
      epsilon,
      heads,
      activation,
      hidden,
      norm1: `${layer}.layernorm_before`,
      attention: {
        query: projection('query'),
        key: projection('key'),
        value: projection('value'),
      },
      output: `${layer}.attention.output.dense`,
      norm2: `${layer}.layernorm_after`,
      up: `${layer}.intermediate.dense`,
      down: `${layer}.output.dense`,
    });
  }

  // Equation 4: y = LN(z⁰), and the head
  const y = g.layerNorm(g.selectRow(z, 0), 'layernorm', epsilon);
  const [numClasses = 0] = weights.shape('classifier.weight', 2);
  const logits = g.linear(y, 'classifier', { columns: numClasses });
  weights.finish([/^pooler\./, /^embeddings\.mask_token$/]);
  return { graph: g.finish(logits), numClasses };
};
