import { GraphBuilder } from './builder.js';
import { checkLength, type Family, hasInput, headWidth, needed } from './family.js';
import { Weights } from './weights.js';

/**
 * BERT (Devlin et al. 2019) with a classification head, as transformers stores it: `BertForSequenceClassification` of
 * models/bert/modeling_bert.py. Blocks normalise after each branch, as in Vaswani et al. 2017. The names may lack `bert.`,
 * and the norms may be named gamma and beta.
 */
export const bert: Family = ({ checkpoint, config, dimensions }) => {
  const weights = new Weights(checkpoint, 'BERT (transformers)', (name) =>
    name
      .replace(/^bert\./, '')
      .replace(/LayerNorm\.gamma$/, 'LayerNorm.weight')
      .replace(/LayerNorm\.beta$/, 'LayerNorm.bias'),
  );
  const g = new GraphBuilder(weights);
  const sequence = needed(dimensions.sequenceLength, checkpoint.path, 'the length of input_ids');
  const columns = config.positive('hidden_size', 768);
  const heads = config.positive('num_attention_heads', 12);
  const width = headWidth(config, columns, heads);
  const hidden = config.positive('intermediate_size', 3072);
  const epsilon = config.real('layer_norm_eps', 1e-12);
  const activation = config.activation('hidden_act', 'gelu');
  const positions = config.positive('max_position_embeddings', 512);
  const types = config.positive('type_vocab_size', 2);
  const kind = config.text('position_embedding_type', 'absolute');
  if (kind !== 'absolute') throw config.unsupported(`positions of the type "${kind}"`);
  if (config.flag('is_decoder', false)) throw config.unsupported('a decoder');
  checkLength(checkpoint.path, 'input_ids', sequence, positions);

  const ids = g.input('input_ids', 'i32', [sequence]);
  const mask = hasInput(dimensions, 'attention_mask')
    ? g.input('attention_mask', 'i32', [sequence])
    : undefined;

  const words = 'embeddings.word_embeddings.weight';
  const typeTable = 'embeddings.token_type_embeddings.weight';
  let x = g.embedding(ids, words, config.positive('vocab_size', 30522), columns);
  if (hasInput(dimensions, 'token_type_ids')) {
    const typeIds = g.input('token_type_ids', 'i32', [sequence]);
    x = g.add(x, g.embedding(typeIds, typeTable, types, columns));
  } else {
    x = g.addRow(x, typeTable, types, 0);
  }
  x = g.addRows(x, 'embeddings.position_embeddings.weight', [positions, columns]);
  x = g.layerNorm(x, 'embeddings.LayerNorm', epsilon);

  const depth = weights.depth('encoder.layer.', config.positive('num_hidden_layers', 12));
  for (let i = 0; i < depth; i++) {
    const layer = `encoder.layer.${i}`;
    const q = g.linear(x, `${layer}.attention.self.query`, { columns });
    const k = g.linear(x, `${layer}.attention.self.key`, { columns });
    const v = g.linear(x, `${layer}.attention.self.value`, { columns });
    const mixed = g.attention(q, k, v, { heads, width, mask });
    const attended = g.layerNorm(
      g.linear(mixed, `${layer}.attention.output.dense`, { columns, residual: x }),
      `${layer}.attention.output.LayerNorm`,
      epsilon,
    );
    const up = g.linear(attended, `${layer}.intermediate.dense`, { columns: hidden, activation });
    x = g.layerNorm(
      g.linear(up, `${layer}.output.dense`, { columns, residual: attended }),
      `${layer}.output.LayerNorm`,
      epsilon,
    );
  }

  const pooled = g.linear(g.selectRow(x, 0), 'pooler.dense', { columns, activation: 'tanh' });
  const [numClasses = 0] = weights.shape('classifier.weight', 2);
  const logits = g.linear(pooled, 'classifier', { columns: numClasses });
  weights.finish([/^embeddings\.(position_ids|token_type_ids)$/, /^cls\./]);
  return { graph: g.finish(logits), numClasses };
};
