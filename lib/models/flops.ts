import type { Graph, Op } from './graph.js';

/**
 * Floating-point operations of one example, a multiply-add counted as two. Matrix products alone are counted, as is the
 * field's custom: norms, activations and softmax are below one per cent of a Transformer.
 */
export function flopsOf(graph: Graph): number {
  return graph.ops.reduce((sum, op) => sum + flopsOfOp(op, graph), 0);
}

function flopsOfOp(op: Op, { values, weights, inputs }: Graph): number {
  const value = (id: number) => values[id] as Graph['values'][number];
  switch (op.op) {
    case 'linear': {
      const elements = (weights[op.weight] as Graph['weights'][number]).shape.reduce(
        (a, b) => a * b,
        1,
      );
      return 2 * value(op.x).rows * elements;
    }
    case 'attention': {
      const queries = value(op.q).rows;
      const keys = value(op.k).rows / (op.shared_kv ? 1 : op.groups);
      // q kᵀ, and the weights times v.
      return 2 * 2 * queries * keys * op.heads * op.width;
    }
    case 'similarity': {
      const elements = (inputs[op.input] as Graph['inputs'][number]).shape.reduce(
        (a, b) => a * b,
        1,
      );
      return 2 * value(op.x).rows * elements;
    }
    default:
      return 0;
  }
}
