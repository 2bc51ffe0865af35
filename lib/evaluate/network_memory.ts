import { showBytes } from '../bytes.js';
import { StockpotError } from '../errors.js';
import type { Graph } from '../models/graph.js';
import { native } from '../native.js';
import { type Engine, onDevice, processor, type Taken } from './engine.js';

/** Most examples at a time where nobody says how many, unless they take more than this. */
const BATCH = 128;
const BATCH_BYTES = 2 ** 30;

/** Bytes that a graph takes. */
export interface GraphBytes {
  /** Weights and the threads' scratch, whatever the batch. */
  fixed: number;
  perExample: number;
  /** Examples that are never exceeded. */
  most: number;
}

/** How many examples at a time: so many, as many as fit, or 128 halved until they fit. */
export type BatchSize = number | 'auto';

/** What a network may take. */
export interface MemoryLimit {
  /** Of the run, in bytes; by default what the machine has. */
  memory?: number;
  /** Bytes of `memory` that the run holds otherwise: prepared data, buffers. */
  taken?: number;
}

/** @param most examples at a time that there can be */
export function bytesOf(
  graph: Graph,
  threads: number,
  most = Number.POSITIVE_INFINITY,
  engine = processor,
): GraphBytes {
  const [one, two] = [1, 2].map(
    (batch) =>
      onDevice(() => native().planNetwork(graph, batch, threads, undefined, engine.device)).bytes,
  ) as [number, number];
  // An input once more for each batch that is under way, and as the bytes that it is made of.
  const each = 4 * engine.ahead + 1;
  const inputs = graph.inputs.reduce(
    (sum, { shape, shared }) => sum + (shared ? 0 : each * shape.reduce((a, b) => a * b, 1)),
    0,
  );
  return { fixed: one - (two - one), perExample: two - one + inputs, most };
}

/** A batch that fits, and the memory that it was promised. */
export interface Reserved {
  batch: number;
  held: Taken;
}

/**
 * Chooses how many examples the graphs of one network are run on at a time, and counts the memory for it, as one of all
 * the networks of this process.
 * @param wanted a number is taken as it is, or refused; `auto` halves 128 until it fits; by default, as many as fit, up
 *   to 128
 * @param ceiling less than this, as it was tried already
 * @throws StockpotError MEMORY with what is needed, what there is, and what to lower
 */
export function reserve(
  graphs: readonly GraphBytes[],
  wanted: BatchSize | undefined,
  limit: MemoryLimit,
  ceiling = Number.POSITIVE_INFINITY,
  engine = processor,
): Reserved {
  for (;;) {
    const available = engine.available();
    const mine =
      limit.memory === undefined
        ? available + engine.held()
        : Math.max(0, limit.memory - (limit.taken ?? 0));
    const room = Math.min(available, engine.room(mine));
    const batch = choose(graphs, wanted, room, ceiling);
    if (needs(graphs, batch) > room)
      throw outOfMemory(graphs, wanted, batch, room, limit, undefined, engine);
    const held = engine.take(needs(graphs, batch), mine);
    // Null where another thread was faster.
    if (held) return { batch, held };
  }
}

const needs = (graphs: readonly GraphBytes[], batch: number): number =>
  graphs.reduce((sum, g) => sum + g.fixed + g.perExample * Math.min(batch, g.most), 0);

function choose(
  graphs: readonly GraphBytes[],
  wanted: BatchSize | undefined,
  room: number,
  ceiling: number,
): number {
  if (typeof wanted === 'number') return wanted;
  const fits = (batch: number) => needs(graphs, batch) <= room;
  const each = Math.max(1, ...graphs.map((g) => g.perExample));
  let batch = Math.max(1, Math.min(BATCH, ceiling, Math.floor(BATCH_BYTES / each)));
  while (batch > 1 && !fits(batch)) batch = wanted === 'auto' ? Math.floor(batch / 2) : batch - 1;
  return batch;
}

/** The failure of a batch that does not fit into `room` bytes; undefined: the system did not say how many it has. */
export function outOfMemory(
  graphs: readonly GraphBytes[],
  wanted: BatchSize | undefined,
  batch: number,
  room: number | undefined,
  { memory, taken = 0 }: MemoryLimit,
  cause?: unknown,
  engine: Engine = processor,
): StockpotError {
  const fixed = graphs.reduce((sum, g) => sum + g.fixed, 0);
  const rest = needs(graphs, batch) - fixed;
  const others = engine.held();
  const there =
    room === undefined
      ? `${engine.device ? 'the device' : 'the system'} refuses`
      : `there is ${showBytes(Math.floor(room))}${engine.device ? ' on the device' : ''}`;
  const of =
    memory === undefined
      ? ''
      : ` of ${showBytes(memory)}, as data and buffers take ${showBytes(taken)}`;
  const beside = others > 0 ? `, and other networks hold ${showBytes(others)}` : '';
  const smaller = batch > 1 && (room === undefined || needs(graphs, 1) <= room);
  const advice = [
    ...(smaller
      ? [`Lower --batch-size${typeof wanted === 'number' ? ' or pass --batch-size auto' : ''}`]
      : []),
    ...(memory === undefined
      ? [engine.device ? 'use a device with more memory' : 'use a machine with more memory']
      : ['raise --memory', 'lower --cache-memory']),
  ].join(', or ');
  return new StockpotError(
    'MEMORY',
    `out of memory: the network needs ${showBytes(fixed)} for its weights and ${showBytes(rest)} for a batch of ${batch}, but ${there}${of}${beside}`,
    { cause, remedy: `${advice.charAt(0).toUpperCase()}${advice.slice(1)}.` },
  );
}
