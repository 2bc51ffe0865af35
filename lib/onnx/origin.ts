import { createHash } from 'node:crypto';
import { type DType, isFloat } from '../checkpoint/dtype.js';
import { elementCount } from '../checkpoint/shape.js';
import type { Checkpoint, TensorEntry } from '../checkpoint/types.js';
import { type Matched, matchTensors } from '../merge/match.js';
import { mixToMemory } from '../merge/to_memory.js';
import type { GraphWeight, Slot } from './slot.js';
import { convert, elementsOf } from './tensors.js';
import { transposedEntry } from './view.js';

/** Elements of the largest tensor that is compared to find out where a graph came from. */
const PROBE = 1 << 22;
const PROBES = 4;

/**
 * The checkpoint that a graph was exported from: which tensor a constant is, its values tell.
 */
export class Origin {
  constructor(
    private readonly graph: string,
    private readonly checkpoint: Checkpoint,
    private readonly entry: (m: Matched) => TensorEntry | null | undefined,
  ) {}

  get path(): string {
    return this.checkpoint.path;
  }

  /** Whether a slot holds this tensor's values: bit for bit, or after rounding to the narrower of the two types. */
  async equals(slot: Slot, tensor: Matched, transposed: boolean): Promise<boolean> {
    const entry = this.entry(tensor);
    if (!entry) return false;
    const mine = await this.read(entry, transposed);
    const theirs = await elementsOf(this.graph, slot.tensor);
    return forms(mine, entry.dtype, [slot.dtype]).some(([a, x]) =>
      forms(theirs, slot.dtype, [entry.dtype]).some(
        ([b, y]) => a === b && Buffer.compare(x, y) === 0,
      ),
    );
  }

  /** For each slot, every tensor whose values it holds, as they are or transposed. Each is read once. */
  async search(
    slots: readonly Slot[],
    tensors: readonly Matched[],
  ): Promise<Map<Slot, GraphWeight[]>> {
    const sizes = new Set(slots.map((s) => elementCount(s.shape)));
    const types = [...new Set(slots.map((s) => s.dtype))];
    const index = new Map<string, { tensor: Matched; transposed: boolean }[]>();
    const others = new Set<DType>();
    for (const tensor of tensors) {
      const entry = this.entry(tensor);
      if (!entry || !sizes.has(elementCount(entry.shape))) continue;
      others.add(entry.dtype);
      for (const transposed of entry.shape.length === 2 ? [false, true] : [false]) {
        const bytes = await this.read(entry, transposed);
        for (const [type, x] of forms(bytes, entry.dtype, types)) {
          const key = keyOf(type, x);
          index.set(key, [...(index.get(key) ?? []), { tensor, transposed }]);
        }
      }
    }
    const out = new Map<Slot, GraphWeight[]>();
    for (const slot of slots) {
      const bytes = await elementsOf(this.graph, slot.tensor);
      for (const [type, x] of forms(bytes, slot.dtype, [...others])) {
        const ways = (index.get(keyOf(type, x)) ?? []).filter((w) => fits(slot, w, this.entry));
        if (ways.length > 0)
          out.set(
            slot,
            ways.map((w) => ({ slot, ...w })),
          );
        if (ways.length > 0) break;
      }
    }
    return out;
  }

  private async read(entry: TensorEntry, transposed: boolean): Promise<Uint8Array> {
    const e = transposed ? transposedEntry(entry) : entry;
    const plan = {
      name: e.name,
      storedName: e.name,
      dtype: e.dtype,
      shape: e.shape,
      op: isFloat(e.dtype) ? ('mean' as const) : ('same' as const),
      weights: [1],
      equal: true,
      places: [[0, e] as const],
    };
    const run = { allowNonfinite: true };
    return (await mixToMemory([this.checkpoint], [plan], run)).get(e.name) as Uint8Array;
  }
}

const keyOf = (type: DType, bytes: Uint8Array): string =>
  `${type} ${createHash('sha256').update(bytes).digest('hex')}`;

/** The elements in their own type, and in those of the others that are floating-point types. */
const forms = (bytes: Uint8Array, own: DType, others: readonly DType[]): [DType, Uint8Array][] => [
  [own, bytes],
  ...others
    .filter((t) => t !== own && isFloat(t) && isFloat(own) && !t.startsWith('F8'))
    .map((t): [DType, Uint8Array] => [t, convert(bytes, own, t)]),
];

function fits(
  slot: Slot,
  { tensor, transposed }: { tensor: Matched; transposed: boolean },
  entry: (m: Matched) => TensorEntry | null | undefined,
): boolean {
  const shape = entry(tensor)?.shape ?? [];
  const seen = transposed ? [...shape].reverse() : shape;
  const squeeze = (s: readonly number[]) => s.filter((d) => d !== 1).join();
  return squeeze(seen) === squeeze(slot.shape);
}

/**
 * Finds the ingredient that holds a graph's values. A few weights of known name decide; where no name is known, the
 * largest constants.
 */
export async function findOrigin(
  graph: string,
  slots: readonly Slot[],
  named: ReadonlyMap<Slot, GraphWeight>,
  matched: readonly Matched[],
  checkpoints: readonly Checkpoint[],
  given: Checkpoint | undefined,
): Promise<Origin | undefined> {
  if (given) {
    const both = await matchTensors([checkpoints[0] as Checkpoint, given], {
      include: undefined,
    });
    const entries = new Map(both.tensors.map((t) => [t.name, t.entries[1]]));
    return new Origin(graph, given, (m) => entries.get(m.name));
  }
  const usable = (s: Slot) => {
    const n = elementCount(s.shape);
    return isFloat(s.dtype) && n > 1 && n <= PROBE && s.node?.op !== 'Identity';
  };
  const largest = (list: Slot[]) =>
    list.sort((a, b) => elementCount(b.shape) - elementCount(a.shape)).slice(0, PROBES);
  const known = largest([...named.keys()].filter(usable));
  const unknown = known.length > 0 ? [] : largest(slots.filter(usable));
  let best: { origin: Origin; count: number } | undefined;
  for (const [i, checkpoint] of checkpoints.entries()) {
    const origin = new Origin(graph, checkpoint, (m) => m.entries[i]);
    let count = 0;
    for (const slot of known) {
      const w = named.get(slot) as GraphWeight;
      if (
        (await origin.equals(slot, w.tensor, w.transposed)) ||
        (slot.shape.length === 2 &&
          slot.shape[0] === slot.shape[1] &&
          (await origin.equals(slot, w.tensor, true)))
      )
        count++;
    }
    if (unknown.length > 0) count = (await origin.search(unknown, matched)).size;
    if (count > (best?.count ?? 0)) best = { origin, count };
    if (count === Math.max(known.length, unknown.length)) break;
  }
  return best?.origin;
}
