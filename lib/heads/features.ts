import type { Checkpoint } from '../checkpoint/types.js';
import type { DataSet } from '../data/types.js';
import { StockpotError } from '../errors.js';
import type { Graph, Network } from '../models/graph.js';

/**
 * A network that ends before its head: in what a linear classifier is put on. Of a classifier that is the input of its last
 * linear layer; of CLIP the image's features, of length 1. The rest is still run; its result is not looked at.
 * @throws StockpotError UNSUPPORTED for a network that ends otherwise
 */
export function featuresOf({ graph, constants }: Network, checkpoint: Checkpoint): Network {
  const last = graph.ops.find((op) => op.out === graph.output);
  const before =
    last?.op === 'linear'
      ? last.x
      : last?.op === 'similarity'
        ? unscaled(graph, last.x)
        : undefined;
  if (before === undefined) {
    throw new StockpotError(
      'UNSUPPORTED',
      `${checkpoint.path}: the network does not end in a linear layer: a probe has no features to stand on`,
      { file: checkpoint.path, remedy: 'Probe a ViT, a CLIP or a BERT.' },
    );
  }
  const numClasses = graph.values[before]?.columns ?? 0;
  return { graph: { ...graph, output: before }, constants, numClasses };
}

function unscaled(graph: Graph, x: number): number {
  const op = graph.ops.find((o) => o.out === x);
  return op?.op === 'scale' ? op.x : x;
}

/** The same data for such a network: classes' features, which only the part behind them needs, are zeros. */
export function withoutClasses(data: DataSet, { graph }: Network): DataSet {
  const zeros = Object.fromEntries(
    graph.inputs
      .filter((i) => i.shared && i.dtype === 'f32')
      .map((i) => [i.name, new Float32Array(i.shape.reduce((a, b) => a * b, 1))]),
  );
  return {
    ...data,
    batch: async (indices, length) => ({ ...(await data.batch(indices, length)), ...zeros }),
  };
}
