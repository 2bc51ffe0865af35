import type { Affine, GraphBuilder } from './builder.js';
import type { Activation, InputId, ValueId } from './graph.js';

/** The names of one block's tensors, and what they do not say. */
export interface PreNormBlock {
  epsilon: number;
  heads: number;
  activation: Activation;
  /** Width of the feed-forward's hidden layer. */
  hidden: number;
  norm1: string;
  /** Queries, keys and values from one matrix (theirs in that order), or from three. */
  attention: { qkv: Affine } | { query: Affine; key: Affine; value: Affine };
  output: Affine;
  norm2: string;
  up: Affine;
  down: Affine;
  /** LayerScale (Touvron et al. 2021, "Going deeper with image transformers"): what each branch is multiplied by. */
  scales?: readonly [string, string];
  causal?: boolean;
  mask?: InputId;
}

/**
 * A transformer block with the normalisation before each branch, as in ViT (Dosovitskiy et al. 2021, equations 2 and 3)
 * and CLIP: z' = MSA(LN(z)) + z, then MLP(LN(z')) + z'.
 */
export function preNormBlock(g: GraphBuilder, z: ValueId, block: PreNormBlock): ValueId {
  const { epsilon, heads, hidden, attention, scales } = block;
  const width = g.columns(z);
  const columns = width;
  const options = {
    heads,
    width: width / heads,
    ...(block.causal && { causal: true }),
    ...(block.mask !== undefined && { mask: block.mask }),
  };
  const normed = g.layerNorm(z, block.norm1, epsilon);
  let mixed: ValueId;
  if ('qkv' in attention) {
    const qkv = g.linear(normed, attention.qkv, { columns: 3 * width });
    mixed = g.attention(qkv, qkv, qkv, { ...options, columns: [0, width, 2 * width] });
  } else {
    const q = g.linear(normed, attention.query, { columns });
    const k = g.linear(normed, attention.key, { columns });
    const v = g.linear(normed, attention.value, { columns });
    mixed = g.attention(q, k, v, options);
  }
  const attended = g.linear(mixed, block.output, { columns, scale: scales?.[0], residual: z });
  const up = g.linear(g.layerNorm(attended, block.norm2, epsilon), block.up, {
    columns: hidden,
    activation: block.activation,
  });
  return g.linear(up, block.down, { columns, scale: scales?.[1], residual: attended });
}
