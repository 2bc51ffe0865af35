import { showShape } from '../checkpoint/shape.js';
import type { DataSet } from '../data/types.js';
import { StockpotError } from '../errors.js';
import { graphsOf, type Network } from '../models/graph.js';

/**
 * Data whose tensors have the shapes that a network takes: else other elements than were meant would be run.
 * @throws StockpotError MISMATCH with every tensor that is missing or has another shape
 */
export function checkInputs(
  data: Pick<DataSet, 'path' | 'inputs' | 'shared'>,
  network: Network,
): void {
  const has = new Map<string, readonly number[]>(data.inputs.map((i) => [i.name, i.shape]));
  // What there is for each class (class_input_ids), the second graph takes a class at a time.
  for (const [name, { shape }] of Object.entries(data.shared)) has.set(name, shape);
  const details = graphsOf(network).flatMap((graph) =>
    graph.inputs.flatMap(({ name, shape, shared }) => {
      if (shared) return [];
      const each = graph === network.classes ? [network.numClasses] : [];
      const expected = showShape([...each, ...shape]);
      const found = has.get(name);
      if (found && showShape(found) === expected) return [];
      const of = each.length > 0 ? '' : ' an example';
      const message = found
        ? `expected ${expected}${of}, as the network takes it, but found ${showShape(found)}`
        : 'is missing; the network takes it';
      return [{ file: data.path, tensor: name, message }];
    }),
  );
  const [first] = details;
  if (!first) return;
  const more = details.length > 1 ? ` (and ${details.length - 1} more)` : '';
  throw new StockpotError(
    'MISMATCH',
    `${data.path}: tensor "${first.tensor}" ${first.message}${more}`,
    {
      file: data.path,
      tensor: first.tensor,
      details,
      remedy:
        'Give data of the shape that the network was made for. Images are prepared as the preprocessor_config.json beside the model (or its pretrained_cfg) says.',
    },
  );
}
