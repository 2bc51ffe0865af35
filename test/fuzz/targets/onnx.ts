import { openCheckpoint } from '../../../lib/checkpoint/open.js';
import { matchTensors } from '../../../lib/merge/match.js';
import { matchGraph } from '../../../lib/onnx/match.js';
import { readOnnx } from '../../../lib/onnx/model.js';
import { elementsOf, isKnown } from '../../../lib/onnx/tensors.js';
import { writeOnnx } from '../../../lib/onnx/write.js';
import { safetensors, tensor } from '../../helpers/safetensors.js';
import { put, survives } from '../support.js';

const graph = put('graph.onnx', '');
put('mixer-external.bin', Buffer.alloc(2848));
const opened = openCheckpoint(
  put(
    'onnx.safetensors',
    safetensors([tensor('embed.weight', 'F32', [8, 12], 1), tensor('head.bias', 'F32', [4], 1)]),
  ),
);

/** An ONNX graph: read, its initializers too, written again, and matched with a checkpoint. */
export async function fuzz(bytes: Buffer): Promise<void> {
  await survives(async () => {
    const model = readOnnx(bytes, graph);
    writeOnnx(model, {
      nodes: model.nodes.map((n) => n.raw),
      initializers: model.initializers.map((i) => i.raw),
      inputs: model.inputs.map((i) => i.raw),
      outputs: model.outputs.map((o) => o.raw),
    });
    for (const t of model.initializers) if (isKnown(t)) await survives(() => elementsOf(graph, t));
    const checkpoint = await opened;
    const { tensors } = await matchTensors([checkpoint]);
    await matchGraph(graph, model, tensors, [checkpoint], { keep: ['onnx::*'] });
  });
}
