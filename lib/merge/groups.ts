import { isFloat } from '../checkpoint/dtype.js';
import { elementCount } from '../checkpoint/shape.js';
import type { Checkpoint, TensorEntry } from '../checkpoint/types.js';
import { StockpotError } from '../errors.js';
import type { Matched } from './match.js';
import { aliases, sameTensor } from './ties.js';
import { resolveWeights, type Weighting } from './weights.js';

/** What shares a row of mixing coefficients: all tensors, those of a layer, or each tensor alone. */
export type By = 'model' | 'layer' | 'tensor';

export const BY: readonly By[] = ['model', 'layer', 'tensor'];

/**
 * The layer that a tensor belongs to: its name (prefix stripped) cut after the first component that is all digits
 * (`vit.encoder.layer.3`); a name without one loses its last component, unless it has only one (`cls_token`).
 */
export function layerOf(name: string): string {
  const parts = name.split('.');
  const digits = parts.findIndex((part) => /^\d+$/.test(part));
  if (digits >= 0) return parts.slice(0, digits + 1).join('.');
  return parts.slice(0, -1).join('.') || name;
}

/** How the floating-point tensors of a soup are divided into groups that each have a row of coefficients. */
export interface Grouping {
  readonly by: By;
  /** In the order of their first tensors; one, named '', by model. */
  readonly names: readonly string[];
  /** Position of a tensor's group, by the tensor's name in the soup; -1 for integers, which are not mixed. */
  indexOf(tensor: string): number;
  /** Elements of each group's tensors; tied copies count once. */
  readonly sizes: readonly number[];
}

/**
 * Divides matched tensors into groups. Tensors that the first ingredient stores twice because they are tied (equal in
 * every ingredient, and known to be one) are one: both get the row of the first.
 */
export async function groupTensors(
  checkpoints: readonly Checkpoint[],
  matched: readonly Matched[],
  by: By,
): Promise<Grouping> {
  const first = by === 'model' ? new Map<string, string>() : await tiedCopies(checkpoints, matched);
  const names: string[] = [];
  const sizes: number[] = [];
  const index = new Map<string, number>();
  for (const { name, entries } of matched) {
    const { dtype, shape } = entries[0] as TensorEntry;
    if (!isFloat(dtype)) continue;
    const leader = first.get(name) ?? name;
    const group = by === 'model' ? '' : by === 'layer' ? layerOf(leader) : leader;
    let at = names.indexOf(group);
    if (at < 0) {
      at = names.push(group) - 1;
      sizes.push(0);
    }
    index.set(name, at);
    if (leader === name) sizes[at] = (sizes[at] as number) + elementCount(shape);
  }
  return { by, names, sizes, indexOf: (tensor) => index.get(tensor) ?? -1 };
}

/** The tensors without copies of tied ones: a tied tensor counts once, under the name that is stored first. */
export async function withoutTiedCopies(
  checkpoints: readonly Checkpoint[],
  matched: readonly Matched[],
): Promise<Matched[]> {
  const copies = await tiedCopies(checkpoints, matched);
  return matched.filter(({ name }) => !copies.has(name));
}

/** Names of tensors that are stored as copies of one before them, and that one's name. */
async function tiedCopies(
  checkpoints: readonly Checkpoint[],
  matched: readonly Matched[],
): Promise<Map<string, string>> {
  const tied = checkpoints[0]?.tied ?? [];
  const byName = new Map(matched.map((m) => [m.name, m]));
  const position = new Map(matched.map((m, i) => [m.name, i]));
  const leaders = new Map<string, string>();
  for (const m of matched) {
    for (const alias of aliases(m.name, tied)) {
      const other = byName.get(alias);
      const before =
        (position.get(alias) ?? Number.POSITIVE_INFINITY) < (position.get(m.name) ?? 0);
      if (!other || !before || leaders.has(m.name)) continue;
      if (await equalEverywhere(checkpoints, m, other))
        leaders.set(m.name, leaders.get(alias) ?? alias);
    }
  }
  return leaders;
}

async function equalEverywhere(
  checkpoints: readonly Checkpoint[],
  a: Matched,
  b: Matched,
): Promise<boolean> {
  for (const [i, checkpoint] of checkpoints.entries()) {
    const [x, y] = [a.entries[i], b.entries[i]];
    if (!x || !y || !(await sameTensor(checkpoint, x, y))) return false;
  }
  return true;
}

/** Coefficients by group, as a soup's record and the recipes have them. */
export interface GroupWeights {
  by: 'layer' | 'tensor';
  /** One an ingredient for each group. */
  alpha: Readonly<Record<string, readonly number[]>>;
}

/**
 * The weights of each tensor, by its name in the soup, from weights by group.
 * @throws StockpotError USAGE where a group has no weights, or not one an ingredient
 */
export async function groupMixture(
  checkpoints: readonly Checkpoint[],
  matched: readonly Matched[],
  { by, alpha }: GroupWeights,
): Promise<(tensor: string) => Weighting> {
  const grouping = await groupTensors(checkpoints, matched, by);
  const rows = grouping.names.map((name) => {
    const row = Object.hasOwn(alpha, name) ? alpha[name] : undefined;
    if (!row) throw new StockpotError('USAGE', `expected weights for the group "${name}"`);
    return resolveWeights(checkpoints.length, row);
  });
  const all = resolveWeights(checkpoints.length);
  return (tensor) => rows[grouping.indexOf(tensor)] ?? all;
}

/** One weight an ingredient for a soup of many rows: the mean over the network's floating-point weights. */
export function meanWeights(grouping: Grouping, alpha: GroupWeights['alpha'], k: number): number[] {
  const all = grouping.sizes.reduce((a, b) => a + b, 0);
  return Array.from({ length: k }, (_, i) =>
    grouping.names.reduce(
      (sum, name, g) => sum + ((grouping.sizes[g] as number) / all) * (alpha[name]?.[i] as number),
      0,
    ),
  );
}
