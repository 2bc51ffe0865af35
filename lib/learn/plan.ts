import { totalmem } from 'node:os';
import { showBytes } from '../bytes.js';
import { StockpotError } from '../errors.js';
import { type Engine, onDevice, processor } from '../evaluate/engine.js';
import { graphsOf, type Network } from '../models/graph.js';
import { native } from '../native.js';

/** Where the ingredients are between the passes over them. */
export type Residence =
  /** All in memory: read once. */
  | 'memory'
  /** Streamed, a group of tensors of all ingredients in memory at a time: read once a step. */
  | 'group'
  /** Streamed through small buffers: read twice a step, for the derivatives and for the next mix. */
  | 'disk';

/** What a run of gradient steps holds in memory, in bytes, and reads. */
export interface LearningPlan {
  /** Examples that go through the network at a time. */
  batch: number;
  /** Parts that the forward pass is repeated in; 1: all activations are kept. */
  segments: number;
  /** Floats an example that the plan of activations may take. */
  floats: number;
  /** Weights, gradients, activations and scratch. */
  network: number;
  residence: Residence;
  /** Memory for ingredients. */
  ingredients: number;
  /** Blocks that a group is read into; 2: the next one's is filled while one is used. */
  blocks: number;
  /** Buffers of the passes over files. */
  buffers: number;
  /** All of these. */
  memory: number;
  /** Bytes of the ingredients' tensors that the network uses. */
  ingredientBytes: number;
  /** Bytes read from files a step. */
  readsPerStep: number;
  /** Soups that a step evaluates, where the derivatives come from differences. */
  evaluations?: number;
}

export interface LearningSizes {
  network: Network;
  /** Bytes of all ingredients' tensors by group. */
  groups: readonly number[];
  threads: number;
  /** Examples of a step. */
  examples: number;
  /** Bytes that the run may hold; half of the machine's memory by default. */
  memory?: number;
  /** The most examples that go through the network at a time. */
  batch?: number;
  /** What it is run on; the processor by default. */
  engine?: Engine;
}

const LARGEST_BATCH = 128;
/** For streaming passes: enough that readers and arithmetic overlap. */
const BUFFERS = 64 * 2 ** 20;
const LEAST_BUFFERS = 8 * 2 ** 20;

/** Bytes that the network's graphs take. */
function networkBytes(
  { network, threads, engine = processor }: LearningSizes,
  batch: number,
  floats: number,
) {
  const plans = graphsOf(network).map((g, i) => {
    // Class prompts go through their graph as many at a time as there are classes, or as images.
    const n = i === 0 ? batch : Math.min(batch, network.numClasses);
    return onDevice(() => native().planNetwork(g, n, threads, floats, engine.device));
  });
  return {
    bytes: plans.reduce((sum, p) => sum + p.bytes, 0),
    segments: (plans[0] as { segments: number }).segments,
    floats: (plans[0] as { floats: number }).floats,
  };
}

/** Examples at a time below which reading the ingredients less often is not worth the memory. */
const USEFUL_BATCH = 8;

/**
 * Decides what is kept and what is read again. Ingredients come first: all of them in memory, or else the largest group of
 * all of them, so that a step reads them once; where then no useful number of examples fits, they are streamed. The rest
 * is for activations: kept where those of a batch of at least 16 fit, else computed again.
 * @throws StockpotError MEMORY with figures where one example does not fit into `memory`
 */
export function planLearning(sizes: LearningSizes): LearningPlan {
  const { groups, engine = processor } = sizes;
  const available = engine.available();
  // A device is its networks' alone.
  const own = engine.device ? available : Math.min(Math.floor(totalmem() / 2), available);
  const memory = engine.device ? Math.min(sizes.memory ?? own, own) : (sizes.memory ?? own);
  const largest = Math.min(sizes.batch ?? LARGEST_BATCH, sizes.examples);
  const least = networkBytes(sizes, 1, 0);
  // What does not grow with the batch: weights, their gradients, scratch.
  const fixed = least.bytes - least.floats * 4;
  if (least.bytes + LEAST_BUFFERS > memory) {
    throw new StockpotError(
      'MEMORY',
      `out of memory: a gradient step needs ${showBytes(least.bytes + LEAST_BUFFERS)} for one example at a time (weights and their gradients ${showBytes(fixed)}), and it may hold ${showBytes(memory)}`,
      { remedy: 'Raise --memory, or use a machine with more.' },
    );
  }
  const all = groups.reduce((a, b) => a + b, 0);
  const largestGroup = Math.max(...groups, 0);
  const buffers = Math.max(
    LEAST_BUFFERS,
    Math.min(BUFFERS, Math.floor((memory - least.bytes) / 8)),
  );
  /** Room for activations beside these ingredients. */
  const room = (ingredients: number) => memory - fixed - buffers - ingredients;
  const useful = least.floats * 4 * Math.min(USEFUL_BATCH, largest);
  const [residence, blocks] = ((): [Residence, number] => {
    if (room(all) >= useful) return ['memory', 0];
    if (groups.length > 1 && room(2 * largestGroup) >= 2 * useful) return ['group', 2];
    if (groups.length > 1 && room(largestGroup) >= useful) return ['group', 1];
    return ['disk', 0];
  })();
  const ingredients = residence === 'memory' ? all : blocks * largestGroup;
  let { batch, floats } = chooseBatch(sizes, largest, room(ingredients), least.floats);
  let planned = networkBytes(sizes, batch, floats);
  // Scratch grows with the batch too.
  while (planned.bytes + ingredients + buffers > memory && batch > 1) {
    ({ batch, floats } = chooseBatch(sizes, batch - 1, room(ingredients), least.floats));
    planned = networkBytes(sizes, batch, floats);
  }
  return {
    batch,
    floats,
    segments: planned.segments,
    network: planned.bytes,
    residence,
    ingredients,
    blocks,
    buffers,
    memory: planned.bytes + ingredients + buffers,
    ingredientBytes: all,
    readsPerStep: { memory: 0, group: all, disk: 2 * all }[residence],
  };
}

function chooseBatch(sizes: LearningSizes, largest: number, room: number, leastFloats: number) {
  const kept = networkBytes(sizes, 1, Number.MAX_SAFE_INTEGER).floats * 4;
  // A part of the room is left for scratch.
  const usable = room * 0.9;
  const fits = Math.floor(usable / kept);
  if (fits >= Math.min(largest, 16))
    return { batch: Math.min(largest, fits), floats: Number.MAX_SAFE_INTEGER };
  // Computed again: as many examples as fit with the least memory, and then as few segments as fit.
  const batch = Math.max(1, Math.min(largest, Math.floor(usable / (leastFloats * 4))));
  return { batch, floats: Math.floor(usable / 4 / batch) };
}
