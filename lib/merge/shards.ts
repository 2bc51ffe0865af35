import { type PlannedTensor, tensorBytes } from './plan.js';

/** One file of the output. */
export interface Shard {
  name: string;
  tensors: PlannedTensor[];
}

/**
 * Cuts tensors into files of at most `maxBytes` of data, in order, never splitting a tensor; names as transformers
 * gives them (huggingface_hub `split_torch_state_dict_into_shards`).
 */
export function splitIntoShards(tensors: readonly PlannedTensor[], maxBytes: number): Shard[] {
  const groups: PlannedTensor[][] = [];
  let room = -1;
  for (const t of tensors) {
    const bytes = tensorBytes(t);
    if (bytes > room || groups.length === 0) {
      groups.push([]);
      room = maxBytes;
    }
    groups.at(-1)?.push(t);
    room -= bytes;
  }
  if (groups.length === 1)
    return [{ name: 'model.safetensors', tensors: groups[0] as PlannedTensor[] }];
  const pad = (n: number) => String(n).padStart(5, '0');
  return groups.map((group, i) => ({
    name: `model-${pad(i + 1)}-of-${pad(groups.length)}.safetensors`,
    tensors: group,
  }));
}

/** The text of model.safetensors.index.json. */
export function shardIndex(shards: readonly Shard[]): string {
  const total = shards.flatMap((s) => s.tensors).reduce((sum, t) => sum + tensorBytes(t), 0);
  const map = shards.flatMap((s) => s.tensors.map((t) => [t.name, s.name] as const));
  const lines = map.map(
    ([tensor, file]) => `    ${JSON.stringify(tensor)}: ${JSON.stringify(file)}`,
  );
  return `{\n  "metadata": {\n    "total_size": ${total}\n  },\n  "weight_map": {\n${lines.join(',\n')}\n  }\n}\n`;
}
