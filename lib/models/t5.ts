import { StockpotError } from '../errors.js';
import { GraphBuilder } from './builder.js';
import { activationNamed, type Config } from './config.js';
import { type Family, hasInput, needed } from './family.js';
import type { Activation, InputId, ValueId } from './graph.js';
import { Weights } from './weights.js';

/** Both stacks embed with this table, and so does the output where nothing else is stored (`_tied_weights_keys`). */
const SHARED = [
  'shared.weight',
  'encoder.embed_tokens.weight',
  'decoder.embed_tokens.weight',
] as const;

/**
 * T5 (Raffel et al. 2020, section 2.1; version 1.1 has a gated feed-forward, Shazeer 2020) as transformers stores it:
 * `T5ForConditionalGeneration` of models/t5/modeling_t5.py. It classifies by label words: a class's logit is the sum of
 * log p(token) over its word's tokens, decoded from the start token.
 */
export const t5: Family = ({ checkpoint, config, dimensions }) => {
  const weights = new Weights(checkpoint, 'T5 (transformers)');
  const g = new GraphBuilder(weights);
  const sequence = needed(dimensions.sequenceLength, checkpoint.path, 'the length of input_ids');
  const columns = config.positive('d_model', 512);
  const layers = config.positive('num_layers', 6);
  const depths = {
    encoder: weights.depth('encoder.block.', layers),
    decoder: weights.depth('decoder.block.', config.positive('num_decoder_layers', layers)),
  };
  const stack: Stack = {
    g,
    heads: config.positive('num_heads', 8),
    width: config.positive('d_kv', 64),
    hidden: config.positive('d_ff', 2048),
    epsilon: config.real('layer_norm_epsilon', 1e-6),
    feedForward: feedForwardOf(config),
    buckets: config.positive('relative_attention_num_buckets', 32),
    distance: config.positive('relative_attention_max_distance', 128),
  };

  if (stack.buckets < 4 || stack.distance <= Math.floor(stack.buckets / 2)) {
    throw config.unsupported(
      `${stack.buckets} buckets for relative positions up to ${stack.distance}`,
    );
  }

  const shared = weights.either(...SHARED);
  const [vocabulary = 0] = weights.shape(shared, 2);
  const labels = labelWords(
    needed(dimensions.labelIds, checkpoint.path, 'label_ids, one word a class'),
    config.integer('decoder_start_token_id', config.integer('pad_token_id', 0)),
    vocabulary,
    checkpoint.path,
  );
  const ids = g.input('input_ids', 'i32', [sequence]);
  const mask = hasInput(dimensions, 'attention_mask')
    ? g.input('attention_mask', 'i32', [sequence])
    : undefined;
  let x = g.embedding(ids, shared, vocabulary, columns);
  const positions = biasOf(stack, 'encoder', sequence);
  for (let i = 0; i < depths.encoder; i++) {
    const block = `encoder.block.${i}.layer`;
    x = selfAttention(stack, x, `${block}.0`, { positions, mask });
    x = feedForward(stack, x, `${block}.1`);
  }
  const encoded = g.rmsNorm(x, 'encoder.final_layer_norm', stack.epsilon);

  // Every class is decoded for every example: a group of rows each, all looking at the same encoded text.
  const { classes, length } = labels;
  const words = g.input('decoder_input_ids', 'i32', [classes * length], true);
  let y = g.embedding(words, shared, vocabulary, columns);
  const before = biasOf(stack, 'decoder', length);
  for (let i = 0; i < depths.decoder; i++) {
    const block = `decoder.block.${i}.layer`;
    y = selfAttention(stack, y, `${block}.0`, { positions: before, causal: true, groups: classes });
    y = crossAttention(stack, y, encoded, `${block}.1`, { mask, groups: classes });
    y = feedForward(stack, y, `${block}.2`);
  }
  y = g.rmsNorm(y, 'decoder.final_layer_norm', stack.epsilon);

  // Where the output is the input's table, its rows are √d_model too long for an output.
  const tied = config.flag('tie_word_embeddings', true);
  if (config.flag('scale_decoder_outputs', tied)) y = g.scale(y, columns ** -0.5);
  const head = weights.has('lm_head.weight') || !tied ? 'lm_head.weight' : shared;
  const tokens = g.linear(y, { weight: head }, { columns: vocabulary });
  const targets = g.input('label_targets', 'i32', [classes, length], true);
  const logits = g.logLikelihood(tokens, targets, classes);
  weights.finish([
    ...SHARED.map((name) => new RegExp(`^${name.replaceAll('.', '\\.')}$`)),
    // Stored by the original release, used by nobody.
    /^decoder\.block\.0\.layer\.1\.EncDecAttention\.relative_attention_bias\.weight$/,
  ]);
  return {
    graph: g.finish(logits),
    constants: { decoder_input_ids: labels.inputs, label_targets: labels.targets },
    numClasses: classes,
  };
};

interface Stack {
  g: GraphBuilder;
  heads: number;
  width: number;
  hidden: number;
  epsilon: number;
  feedForward: { gated: boolean; activation: Activation };
  buckets: number;
  distance: number;
}

interface Positions {
  table: string;
  buckets: number[];
  count: number;
}

/** "relu", "gated-gelu", …; the gate's gelu is the tanh form (T5Config in configuration_t5.py). */
function feedForwardOf(config: Config): { gated: boolean; activation: Activation } {
  const name = config.text('feed_forward_proj', 'relu');
  const gated = name.startsWith('gated-');
  const activation = activationNamed(
    name === 'gated-gelu' ? 'gelu_new' : name.replace('gated-', ''),
  );
  if (activation === undefined) throw config.unsupported(`the feed-forward "${name}"`);
  return { gated, activation };
}

/** Label words as the decoder takes them in, and as it should put them out; -1 where a word has ended. */
function labelWords(
  rows: readonly (readonly number[])[],
  start: number,
  vocabulary: number,
  path: string,
) {
  const refuse = (found: string) =>
    new StockpotError(
      'FORMAT',
      `${path}: expected tokens of a vocabulary of ${vocabulary} for each class in label_ids but found ${found}`,
      { file: path },
    );
  const words = rows.map((row) => row.slice(0, row.findLastIndex((id) => id !== 0) + 1));
  if (words.length === 0) throw refuse('no class');
  for (const [c, word] of words.entries()) {
    const wrong = word.find((id) => !(Number.isInteger(id) && id >= 0 && id < vocabulary));
    if (word.length === 0) throw refuse(`none for class ${c}`);
    if (wrong !== undefined) throw refuse(`${wrong} for class ${c}`);
  }
  const classes = words.length;
  const length = Math.max(...words.map((word) => word.length));
  const inputs = new Int32Array(classes * length);
  const targets = new Int32Array(classes * length).fill(-1);
  for (const [c, word] of words.entries()) {
    targets.set(word, c * length);
    inputs.set([start, ...word.slice(0, -1)], c * length);
  }
  return { classes, length, inputs, targets };
}

function selfAttention(
  { g, heads, width, epsilon }: Stack,
  x: ValueId,
  layer: string,
  options: { positions: Positions; mask?: InputId; causal?: boolean; groups?: number },
): ValueId {
  const { positions, ...rest } = options;
  const normed = g.rmsNorm(x, `${layer}.layer_norm`, epsilon);
  const of = (name: string) =>
    g.linear(
      normed,
      { weight: `${layer}.SelfAttention.${name}.weight` },
      { columns: heads * width },
    );
  // Not divided by √width: the initialisation takes care of it.
  const mixed = g.attention(of('q'), of('k'), of('v'), {
    heads,
    width,
    scale: 1,
    bias: positions,
    ...rest,
  });
  return g.linear(
    mixed,
    { weight: `${layer}.SelfAttention.o.weight` },
    { columns: g.columns(x), residual: x },
  );
}

function crossAttention(
  { g, heads, width, epsilon }: Stack,
  x: ValueId,
  encoded: ValueId,
  layer: string,
  options: { mask?: InputId; groups: number },
): ValueId {
  const normed = g.rmsNorm(x, `${layer}.layer_norm`, epsilon);
  const of = (from: ValueId, name: string) =>
    g.linear(
      from,
      { weight: `${layer}.EncDecAttention.${name}.weight` },
      { columns: heads * width },
    );
  const mixed = g.attention(of(normed, 'q'), of(encoded, 'k'), of(encoded, 'v'), {
    heads,
    width,
    scale: 1,
    sharedKv: true,
    ...options,
  });
  return g.linear(
    mixed,
    { weight: `${layer}.EncDecAttention.o.weight` },
    { columns: g.columns(x), residual: x },
  );
}

function feedForward(stack: Stack, x: ValueId, layer: string): ValueId {
  const { g, hidden, epsilon } = stack;
  const { gated, activation } = stack.feedForward;
  const dense = `${layer}.DenseReluDense`;
  const normed = g.rmsNorm(x, `${layer}.layer_norm`, epsilon);
  let up: ValueId;
  if (gated) {
    const multiply = g.linear(normed, { weight: `${dense}.wi_1.weight` }, { columns: hidden });
    const gate = { weight: `${dense}.wi_0.weight` };
    up = g.linear(normed, gate, { columns: hidden, activation, multiply });
  } else {
    up = g.linear(normed, { weight: `${dense}.wi.weight` }, { columns: hidden, activation });
  }
  return g.linear(up, { weight: `${dense}.wo.weight` }, { columns: g.columns(x), residual: x });
}

/** The first block's table of relative positions serves the whole stack. */
function biasOf(stack: Stack, name: 'encoder' | 'decoder', length: number): Positions {
  const buckets: number[] = [];
  for (let i = 0; i < length; i++) {
    for (let j = 0; j < length; j++) {
      buckets.push(bucket(j - i, name === 'encoder', stack.buckets, stack.distance));
    }
  }
  const table = `${name}.block.0.layer.0.SelfAttention.relative_attention_bias.weight`;
  return { table, buckets, count: stack.buckets };
}

/**
 * The bucket of a key's position relative to the query's (`T5Attention._relative_position_bucket`): half of the buckets
 * for exact distances, half for logarithmically growing ones; bidirectional ones are split between the two directions.
 * The arithmetic is PyTorch's, in float32, since distances at a bucket's edge depend on it.
 */
export function bucket(
  relative: number,
  bidirectional: boolean,
  count: number,
  maximum: number,
): number {
  const own = bidirectional ? Math.floor(count / 2) : count;
  const offset = bidirectional && relative > 0 ? own : 0;
  const distance = bidirectional ? Math.abs(relative) : Math.max(-relative, 0);
  const exact = Math.floor(own / 2);
  if (distance < exact) return offset + distance;
  const f = Math.fround;
  const growth = f(f(Math.log(f(distance / exact))) / f(Math.log(maximum / exact)));
  const large = exact + Math.trunc(f(growth * (own - exact)));
  return offset + Math.min(large, own - 1);
}
