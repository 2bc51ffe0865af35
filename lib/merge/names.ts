import type { Checkpoint, TensorEntry } from '../checkpoint/types.js';

/** Prefixes that training wrappers put before every name (DistributedDataParallel, torch.compile). */
const WRAPPERS = ['module.', '_orig_mod.'];
/** Prefixes that a whole checkpoint may have or lack besides (Lightning and the like). */
const COMMON = [...WRAPPERS, 'model.'];
/** transformers' `base_model_prefix`: a model with a head has it, the bare model has not. */
const BASE_MODELS = [
  'bert.',
  'roberta.',
  'distilbert.',
  'electra.',
  'albert.',
  'vit.',
  'deit.',
  'transformer.',
];

/** A checkpoint's tensors under the names by which they are matched. */
export type Renamed = Map<string, TensorEntry>;

export interface Naming {
  /** One a checkpoint. */
  renamed: Renamed[];
  notes: string[];
}

function commonPrefix(names: Iterable<string>, prefixes: readonly string[]): string {
  let prefix = '';
  const all = [...names];
  for (;;) {
    const next = prefixes.find((p) =>
      all.every((n) => n.startsWith(prefix + p) && n.length > (prefix + p).length),
    );
    if (next === undefined) return prefix;
    prefix += next;
  }
}

const strip = (tensors: Renamed, prefix: string): Renamed =>
  new Map([...tensors].map(([name, entry]) => [name.slice(prefix.length), entry]));

/**
 * Brings the checkpoints' names together, towards those of the first: prefixes that every name of a file has, the
 * base model's prefix, and the old LayerNorm.gamma/beta (behaviours 10 and 13).
 */
export function bringNamesTogether(checkpoints: readonly Checkpoint[]): Naming {
  const notes: string[] = [];
  const prefixes = checkpoints.map((c) => commonPrefix(c.tensors.keys(), COMMON));
  // A wrapper's prefix is never part of a network: a converted .pt loses it in any case. Everything else goes only
  // where the files differ in it.
  const differ = prefixes.some((p) => p !== prefixes[0]);
  const renamed = checkpoints.map((c, i) => {
    const wrapper = c.format === 'pytorch' ? commonPrefix(c.tensors.keys(), WRAPPERS) : '';
    const prefix = differ ? (prefixes[i] as string) : wrapper;
    if (prefix !== '') notes.push(`${c.path}: the prefix "${prefix}" of every name is stripped.`);
    return strip(new Map(c.tensors), prefix);
  });
  const reference = renamed[0] as Renamed;
  const naming = checkpoints.map((c, i) => {
    if (i === 0) return reference;
    let names = renamed[i] as Renamed;
    names = renameLayerNorm(c, names, reference, notes);
    return renameBase(c, names, reference, notes);
  });
  return { renamed: naming, notes };
}

function renameLayerNorm(
  c: Checkpoint,
  names: Renamed,
  reference: Renamed,
  notes: string[],
): Renamed {
  const pairs = [
    ['.gamma', '.weight'],
    ['.beta', '.bias'],
  ] as const;
  let count = 0;
  const out: Renamed = new Map();
  for (const [name, entry] of names) {
    let target = name;
    for (const [old, modern] of pairs) {
      for (const [from, to] of [
        [`LayerNorm${old}`, `LayerNorm${modern}`],
        [`LayerNorm${modern}`, `LayerNorm${old}`],
      ] as const) {
        if (!reference.has(name) && name.endsWith(from)) {
          const other = name.slice(0, -from.length) + to;
          // The name may still lack the base model's prefix, so its end decides.
          if (
            reference.has(other) ||
            [...BASE_MODELS].some(
              (p) => reference.has(p + other) || reference.has(other.slice(p.length)),
            )
          ) {
            target = other;
          }
        }
      }
    }
    if (target !== name) count++;
    out.set(names.has(target) && target !== name ? name : target, entry);
  }
  if (count > 0) {
    notes.push(
      `${c.path}: ${count} LayerNorm tensors named gamma/beta or weight/bias are matched with the first ingredient's names.`,
    );
  }
  return out;
}

function renameBase(c: Checkpoint, names: Renamed, reference: Renamed, notes: string[]): Renamed {
  for (const prefix of BASE_MODELS) {
    const out: Renamed = new Map();
    let count = 0;
    for (const [name, entry] of names) {
      const without = name.startsWith(prefix) ? name.slice(prefix.length) : undefined;
      let target = name;
      if (!reference.has(name)) {
        if (reference.has(prefix + name) && !names.has(prefix + name)) target = prefix + name;
        else if (without !== undefined && reference.has(without) && !names.has(without))
          target = without;
      }
      if (target !== name) count++;
      out.set(target, entry);
    }
    if (count > 0) {
      notes.push(
        `${c.path}: ${count} names are matched with the first ingredient's ${[...reference.keys()].some((n) => n.startsWith(prefix)) ? 'with' : 'without'} the prefix "${prefix}".`,
      );
      return out;
    }
  }
  return names;
}
