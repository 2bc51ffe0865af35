import picomatch from 'picomatch';
import { isFloat } from '../checkpoint/dtype.js';
import { elementCount, showShape } from '../checkpoint/shape.js';
import type { Checkpoint, TensorEntry } from '../checkpoint/types.js';
import { type Mismatch, StockpotError } from '../errors.js';
import type { Matched } from '../merge/match.js';
import type { OnnxModel } from './model.js';
import { findOrigin, type Origin } from './origin.js';
import type { GraphWeight, Slot } from './slot.js';
import { isKnown, type KnownTensor } from './tensors.js';

export interface GraphMatching {
  weights: GraphWeight[];
  notes: string[];
}

export interface GraphMatchOptions {
  /** Globs of initializers that are no weights, though no tensor is known for them. */
  keep?: readonly string[];
  /** The checkpoint that the graph was exported from, where it is none of the ingredients. */
  exportedFrom?: Checkpoint;
}

/**
 * Finds the soup's tensor for each weight of a graph: by name, by name under a prefix, and by value against the
 * checkpoint that the graph was exported from: equal, transposed, or in another floating-point type. What is no weight
 * (a mask, a scale) stays as it is.
 * @throws StockpotError MISMATCH where tensors of the soup and constants of the graph are left over, so that the graph
 *   may hold weights in a form that cannot be replaced: all of them are in `details`
 */
export async function matchGraph(
  path: string,
  model: OnnxModel,
  matched: readonly Matched[],
  checkpoints: readonly Checkpoint[],
  options: GraphMatchOptions = {},
): Promise<GraphMatching> {
  const slots = slotsOf(model);
  const named = matchNames(slots, matched);
  const found = new Map<Slot, GraphWeight>();
  for (const [slot, tensor] of named) {
    const how = shapesFit(slot.shape, shapeOf(tensor));
    if (how) found.set(slot, { slot, tensor, transposed: how === 'transposed' });
  }
  const origin = await findOrigin(path, slots, found, matched, checkpoints, options.exportedFrom);
  const doubtful = origin ? await compareNamed(origin, found) : [];
  if (origin) await matchValues(origin, slots, found, matched);
  // An Identity or Constant that nothing was found for is a part of the graph like any other.
  const weights = [...found.values()];
  const notes = judge(path, slots, weights, doubtful, matched, origin, options);
  return { weights, notes };
}

function slotsOf(model: OnnxModel): Slot[] {
  const slots: Slot[] = [];
  const byName = new Map<string, KnownTensor>();
  for (const t of model.initializers) {
    if (!isKnown(t)) continue;
    byName.set(t.name, t);
    slots.push({ name: t.name, dtype: t.dtype, shape: t.shape, tensor: t });
  }
  for (const node of model.nodes) {
    const name = node.outputs[0];
    // Exporters store equal weights once, and the other one's name is an Identity's output.
    const tensor =
      node.op === 'Constant' && node.value && isKnown(node.value)
        ? node.value
        : node.op === 'Identity'
          ? byName.get(node.inputs[0] ?? '')
          : undefined;
    if (name === undefined || !tensor) continue;
    slots.push({ name, dtype: tensor.dtype, shape: tensor.shape, tensor, node });
  }
  return slots;
}

const shapeOf = (m: Matched): readonly number[] =>
  (m.entries.find((e) => e !== null) as TensorEntry).shape;

const isFloatTensor = (m: Matched): boolean =>
  isFloat((m.entries.find((e) => e !== null) as TensorEntry).dtype);

/** How a tensor fills a slot: as it is (dimensions of size 1 apart), or transposed. */
function shapesFit(
  slot: readonly number[],
  tensor: readonly number[],
): 'same' | 'transposed' | undefined {
  const squeeze = (s: readonly number[]) => s.filter((d) => d !== 1).join();
  if (squeeze(slot) === squeeze(tensor)) return 'same';
  return slot.length === 2 && tensor.length === 2 && slot[0] === tensor[1] && slot[1] === tensor[0]
    ? 'transposed'
    : undefined;
}

/** Slots whose name is a tensor's: as it is, or all under the one prefix that fits most of them. */
function matchNames(slots: readonly Slot[], matched: readonly Matched[]): Map<Slot, Matched> {
  const tensors = new Map<string, Matched>();
  for (const m of matched) for (const e of m.entries) if (e) tensors.set(e.name, m);
  for (const m of matched) tensors.set(m.name, m);
  const names = new Set(slots.map((s) => s.name));
  const votes = new Map<string, number>();
  const vote = (key: string) => votes.set(key, (votes.get(key) ?? 0) + 1);
  for (const name of names) {
    if (tensors.has(name)) vote('+');
    else
      for (const suffix of suffixes(name))
        if (tensors.has(suffix)) vote(`+${name.slice(0, -suffix.length)}`);
  }
  for (const name of tensors.keys())
    for (const suffix of suffixes(name))
      if (names.has(suffix)) vote(`-${name.slice(0, -suffix.length)}`);
  const [best = '+'] = [...votes].sort((a, b) => b[1] - a[1] || a[0].length - b[0].length)[0] ?? [];
  const prefix = best.slice(1);
  const out = new Map<Slot, Matched>();
  for (const slot of slots) {
    const name =
      best[0] === '-'
        ? prefix + slot.name
        : slot.name.startsWith(prefix)
          ? slot.name.slice(prefix.length)
          : undefined;
    const tensor = tensors.get(slot.name) ?? (name === undefined ? undefined : tensors.get(name));
    if (tensor && isFloatTensor(tensor) === isFloat(slot.dtype)) out.set(slot, tensor);
  }
  return out;
}

/** `a.b.c` -> `b.c`, `c`. */
const suffixes = (name: string): string[] =>
  [...name.matchAll(/[./]/g)].map((m) => name.slice(m.index + 1)).filter((s) => s !== '');

/** Slots whose name is a tensor's but whose values are not those of the checkpoint that the graph came from. */
async function compareNamed(origin: Origin, found: Map<Slot, GraphWeight>): Promise<Slot[]> {
  const doubtful: Slot[] = [];
  for (const [slot, w] of found) {
    if (!isFloat(slot.dtype)) continue;
    if (await origin.equals(slot, w.tensor, w.transposed)) continue;
    // A square matrix has the same shape when it is transposed.
    const [rows, columns] = slot.shape;
    if (slot.shape.length === 2 && rows === columns && (await origin.equals(slot, w.tensor, true)))
      w.transposed = true;
    else doubtful.push(slot);
  }
  return doubtful;
}

async function matchValues(
  origin: Origin,
  slots: readonly Slot[],
  found: Map<Slot, GraphWeight>,
  matched: readonly Matched[],
): Promise<void> {
  const used = new Set([...found.values()].map((w) => w.tensor));
  const free = matched.filter(
    (m) => !used.has(m) && isFloatTensor(m) && elementCount(shapeOf(m)) > 1,
  );
  const open = slots.filter(
    (s) =>
      !found.has(s) && isFloat(s.dtype) && elementCount(s.shape) > 1 && s.node?.op !== 'Identity',
  );
  for (const [slot, ways] of await origin.search(open, free)) {
    const tensors = new Set(ways.map((w) => w.tensor));
    if (tensors.size > 1) continue; // cannot be told apart: left over, and named
    found.set(slot, ways[0] as GraphWeight);
  }
}

const EXPORT =
  'Export the graph so that it keeps its weights: torch.onnx.export(…, dynamo=False, do_constant_folding=False, training=torch.onnx.TrainingMode.PRESERVE) on model.eval(), or dynamo=True with optimize=False';

const STATISTICS = /running_(mean|var)$/;

function judge(
  path: string,
  slots: readonly Slot[],
  weights: readonly GraphWeight[],
  doubtful: readonly Slot[],
  matched: readonly Matched[],
  origin: Origin | undefined,
  { keep = [] }: GraphMatchOptions,
): string[] {
  const kept = picomatch([...keep], { dot: true, bash: true });
  const filled = new Set(weights.map((w) => w.slot));
  const used = new Set(weights.map((w) => w.tensor));
  const tensors = matched.filter((m) => !used.has(m) && isFloatTensor(m));
  // Constants of one element are scales, epsilons and the like.
  const constants = slots.filter(
    (s) =>
      !filled.has(s) &&
      isFloat(s.dtype) &&
      elementCount(s.shape) > 1 &&
      s.node?.op !== 'Identity' &&
      !(keep.length > 0 && kept(s.name)),
  );
  // Folded into convolutions, which then lack nothing else. A graph without any has another reason, such as no image tower.
  const statistics = weights.some((w) => w.slot.shape.length > 2)
    ? tensors.filter((m) => STATISTICS.test(m.name))
    : [];
  const changed = doubtful.filter((s) => !(keep.length > 0 && kept(s.name)));
  const folded =
    tensors.length > 0 && (constants.length > 0 || changed.length > 0 || statistics.length > 0);
  if (weights.length > 0 && !folded) {
    if (tensors.length === 0) return [];
    const names = tensors.map((m) => m.name);
    return [
      `${path}: ${names.length} tensors are not in the graph and change nothing: ${names.slice(0, 5).join(', ')}${names.length > 5 ? ', …' : ''}.`,
    ];
  }
  const details: Mismatch[] = [
    ...constants.map((s) => ({
      file: path,
      tensor: s.name,
      message: `(${s.dtype} ${showShape(s.shape)} in the graph) is no tensor of the soup by name or by value`,
    })),
    ...changed.map((s) => ({
      file: path,
      tensor: s.name,
      message: `has other values in the graph than in ${origin?.path}, which the rest of the graph came from`,
    })),
    ...tensors.map((m) => ({
      file: path,
      tensor: m.name,
      message: `(${showShape(shapeOf(m))} in the soup) has no place in the graph`,
    })),
  ];
  const bn = tensors.some((m) => STATISTICS.test(m.name))
    ? ' (batch norm seems to be folded into convolutions)'
    : '';
  const [first] = details as [Mismatch];
  const from = origin
    ? ''
    : ' The graph was exported from none of the ingredients: name the checkpoint that it came from with --graph-weights MODEL.';
  return refuse(
    path,
    `${path}: the graph's weights cannot all be replaced${bn}: "${first.tensor}" ${first.message}${details.length > 1 ? ` (and ${details.length - 1} more)` : ''}`,
    details,
    `${EXPORT}.${from} Constants that are no weights may stay: --graph-keep 'GLOB'; tensors that the graph needs not may be left out: --exclude 'GLOB'.`,
  );
}

function refuse(file: string, message: string, details: Mismatch[], remedy: string): never {
  throw new StockpotError('MISMATCH', message, {
    file,
    tensor: details[0]?.tensor,
    details,
    remedy,
  });
}
