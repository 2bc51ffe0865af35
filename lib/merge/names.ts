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
  /** Groups of names that a file says are one tensor, under the names by which they are matched. */
  tied: string[][];
  notes: string[];
}

/** Nothing, and each longer prefix that every name has: '', 'module.', 'module.model.'. */
function commonPrefixes(names: Iterable<string>, prefixes: readonly string[]): string[] {
  const found = [''];
  const all = [...names];
  for (;;) {
    const last = found.at(-1) as string;
    const next = prefixes.find((p) =>
      all.every((n) => n.startsWith(last + p) && n.length > (last + p).length),
    );
    if (next === undefined) return found;
    found.push(last + next);
  }
}

/** A name without what `renameBase` and `renameLayerNorm` bring together. */
function core(name: string): string {
  const base = BASE_MODELS.find((p) => name.startsWith(p)) ?? '';
  return name
    .slice(base.length)
    .replace(/LayerNorm\.gamma$/, 'LayerNorm.weight')
    .replace(/LayerNorm\.beta$/, 'LayerNorm.bias');
}

/**
 * The prefix to strip from each checkpoint's names: what makes most names agree with the first's, and as little as
 * possible (a language model's own `model.` stays where another file has an output head beside it).
 */
function choosePrefixes(checkpoints: readonly Checkpoint[]): string[] {
  const choices = checkpoints.map((c) => {
    // A wrapper's prefix is never part of a network: a converted .pt loses it in any case.
    const wrappers = c.format === 'pytorch' ? commonPrefixes(c.tensors.keys(), WRAPPERS) : [''];
    return commonPrefixes(c.tensors.keys(), COMMON).slice(wrappers.length - 1);
  });
  if (choices.every((prefixes) => prefixes.length === 1)) return choices.map(([p]) => p as string);
  const cores = checkpoints.map((c, i) =>
    (choices[i] as string[]).map(
      (p) => new Set([...c.tensors.keys()].map((n) => core(n.slice(p.length)))),
    ),
  );
  let best = { agreeing: -1, prefixes: [] as string[] };
  for (const [r, reference] of (cores[0] as Set<string>[]).entries()) {
    let agreeing = 0;
    const prefixes = choices.map((own, i) => {
      if (i === 0) return own[r] as string;
      const counts = (cores[i] as Set<string>[]).map(
        (names) => [...names].filter((n) => reference.has(n)).length,
      );
      const most = Math.max(...counts);
      agreeing += most;
      return own[counts.indexOf(most)] as string;
    });
    if (agreeing > best.agreeing) best = { agreeing, prefixes };
  }
  return best.prefixes;
}

const strip = (tensors: Renamed, prefix: string): Renamed =>
  new Map([...tensors].map(([name, entry]) => [name.slice(prefix.length), entry]));

/**
 * Brings the checkpoints' names together, towards those of the first: prefixes that every name of a file has, the
 * base model's prefix, and the old LayerNorm.gamma/beta (behaviours 10 and 13).
 */
export function bringNamesTogether(checkpoints: readonly Checkpoint[]): Naming {
  const notes: string[] = [];
  const prefixes = choosePrefixes(checkpoints);
  const renamed = checkpoints.map((c, i) => {
    const prefix = prefixes[i] as string;
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
  const tied = checkpoints.flatMap((c, i) => {
    const matchedBy = new Map([...(naming[i] as Renamed)].map(([n, entry]) => [entry.name, n]));
    const prefix = prefixes[i] as string;
    const bare = (n: string) => (n.startsWith(prefix) ? n.slice(prefix.length) : n);
    return c.tied.map((group) => group.map((n) => matchedBy.get(n) ?? bare(n)));
  });
  return { renamed: naming, tied, notes };
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
