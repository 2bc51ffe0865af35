/** What a recipe keeps on a device beside the ingredients, in bytes. */
export interface WorkingSet {
  /** The soup's weights as the network takes them. */
  soup: number;
  /** One number a weight, for learned soups. */
  gradient: number;
  /** Values of a batch: those that live at a time, or with a backward pass all that it needs. */
  activations: number;
  /** Buffers for ingredients that are streamed; only where some are. */
  ring: number;
}

export interface Residency {
  /** Positions of the ingredients that stay on the device. */
  resident: number[];
  /** Those that are read again in every pass. */
  streamed: number[];
  /** Bytes on the device. */
  bytes: number;
  /** The working set alone does not fit: nothing can be computed. */
  fits: boolean;
}

/**
 * Which ingredients stay on a device of `memory` bytes: the first ones, as many as fit beside the working set. Every pass
 * goes through all ingredients in the same order, so any fixed choice saves as many bytes as its size, and one that
 * changes (the least recently used, say) would save none.
 */
export function planResidency(
  ingredients: readonly number[],
  working: WorkingSet,
  memory: number,
): Residency {
  const base = working.soup + working.gradient + working.activations;
  const all = base + ingredients.reduce((a, b) => a + b, 0);
  const positions = ingredients.map((_, i) => i);
  if (all <= memory) return { resident: positions, streamed: [], bytes: all, fits: true };
  let bytes = base + working.ring;
  const fits = bytes <= memory;
  let count = 0;
  for (; count < ingredients.length; ++count) {
    const next = bytes + (ingredients[count] as number);
    if (next > memory) break;
    bytes = next;
  }
  return { resident: positions.slice(0, count), streamed: positions.slice(count), bytes, fits };
}

/** A network's sizes, for {@link workingSet}. */
export interface NetworkSizes {
  parameters: number;
  /** Bytes of a weight as the network takes it. */
  weightBytes: number;
  /** Bytes of values that live at a time in a forward pass, and that a backward pass needs, an example. */
  forwardBytes: number;
  backwardBytes: number;
  batch: number;
}

/**
 * Bytes of a device that a pass takes while ingredients are streamed: two staging areas and what is rounded twice
 * (native/stream/device_pass.h), and as much for its tables.
 */
export const STREAMING = 4 * 256 * 2 ** 20;

/**
 * What each recipe keeps beside the ingredients. A uniform soup from disk to disk keeps none of either: its working set is
 * the tiles. A greedy candidate is computed from the resident members, so no sum of them is kept.
 */
export function workingSet(recipe: 'uniform' | 'greedy' | 'learned', n: NetworkSizes): WorkingSet {
  const soup = recipe === 'uniform' ? 0 : n.parameters * n.weightBytes;
  return {
    soup,
    gradient: recipe === 'learned' ? n.parameters * 4 : 0,
    activations:
      recipe === 'uniform'
        ? 0
        : n.batch * (recipe === 'learned' ? n.backwardBytes : n.forwardBytes),
    ring: STREAMING,
  };
}
