import { openCheckpoint } from '../../lib/checkpoint/open.js';
import { execute } from '../../lib/merge/execute.js';
import { matchTensors } from '../../lib/merge/match.js';
import { planTensors } from '../../lib/merge/plan.js';
import { resolveWeights } from '../../lib/merge/weights.js';
import type { Graph } from '../../lib/models/graph.js';
import type { NetworkHandle } from '../../lib/native.js';
import { putTensors, tensor } from '../helpers/safetensors.js';

/** Puts weights into a network by way of a file, as a merge does. */
export async function loadWeights(
  path: string,
  graph: Graph,
  weights: ReadonlyMap<string, Float32Array>,
  handle: NetworkHandle,
): Promise<void> {
  const tensors = graph.weights.map((w) =>
    tensor(w.name, 'F32', w.shape, [...(weights.get(w.name) as Float32Array)]),
  );
  const checkpoint = await openCheckpoint(await putTensors(path, tensors));
  const { tensors: matched } = await matchTensors([checkpoint]);
  const planned = planTensors(matched, resolveWeights(1), 'keep');
  const ids = planned.map((t) => graph.weights.findIndex((w) => w.name === t.storedName));
  await execute([checkpoint], [{ name: '', tensors: planned }], {
    sink: 'network',
    network: { handle, weights: Float64Array.from(ids) },
    outputs: [{ fd: -1, prefix: new Uint8Array(), path: '' }],
  });
}
