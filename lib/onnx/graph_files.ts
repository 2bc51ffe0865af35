import { type FileHandle, open, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { byteSize, type DType } from '../checkpoint/dtype.js';
import { elementCount } from '../checkpoint/shape.js';
import { fileError } from '../checkpoint/system_error.js';
import type { Checkpoint } from '../checkpoint/types.js';
import { MAKE_ROOM, TemporaryFolder } from '../checkpoint/unfinished.js';
import { isFull, writeError } from '../checkpoint/writing.js';
import { StockpotError } from '../errors.js';
import { type Allowances, execute, judge } from '../merge/execute.js';
import { type PlannedTensor, tensorBytes } from '../merge/plan.js';
import { mixToMemory } from '../merge/to_memory.js';
import type { RunOptions } from '../progress.js';
import type { OnnxModel } from './model.js';
import type { GraphWeight, Slot } from './slot.js';
import { convert, elementsOf, isKnown } from './tensors.js';
import { transposedEntry } from './view.js';
import { externalInitializer, inlineInitializer, writeOnnx } from './write.js';

/** Bytes of weights that are held in memory to be converted. */
const GROUP = 256e6;
const WEIGHTS = 'weights.bin';

/** A graph's weight as the mix gives it. */
interface Piece {
  plan: PlannedTensor;
  slot: Slot;
}

/**
 * A temporary folder with the graph and, in a file beside it, a mix of the ingredients that its initializers point to.
 * So a model may be larger than a protobuf message can be (2 GB), and the weights pass through no JavaScript memory.
 */
export class GraphFiles {
  private written = '';

  private constructor(
    private readonly folder: TemporaryFolder,
    private readonly path: string,
    private readonly model: OnnxModel,
    private readonly weights: readonly GraphWeight[],
  ) {}

  /** @throws StockpotError IO */
  static async open(
    path: string,
    model: OnnxModel,
    weights: readonly GraphWeight[],
  ): Promise<GraphFiles> {
    const folder = await TemporaryFolder.make('graph');
    return new GraphFiles(folder, path, model, weights);
  }

  get graph(): string {
    return join(this.folder.path, 'graph.onnx');
  }

  async close(): Promise<void> {
    await this.folder.remove();
  }

  /**
   * Writes a mix. The one before must no longer be in use.
   * @throws StockpotError as for a soup on disk; MISMATCH where the soup lacks a tensor
   */
  async write(
    checkpoints: readonly Checkpoint[],
    tensors: readonly PlannedTensor[],
    run: RunOptions & Allowances,
  ): Promise<void> {
    const pieces = this.weights.map((w) => this.piece(w, tensors));
    const direct = pieces.filter((p) => p.plan.dtype === p.slot.dtype);
    const other = pieces.filter((p) => p.plan.dtype !== p.slot.dtype);
    const file = join(this.folder.path, WEIGHTS);
    await rm(file, { force: true });
    const handle = await open(file, 'wx').catch((cause) => {
      throw fileError(file, cause);
    });
    try {
      await mixToFile(handle, file, checkpoints, direct, run);
      for (const group of groups(other)) await mixConverted(handle, checkpoints, group, run);
    } catch (cause) {
      throw isFull(cause) ? writeError(file, cause, MAKE_ROOM) : cause;
    } finally {
      await handle.close();
    }
    await this.writeGraph([...direct, ...other]);
  }

  private piece(
    { slot, tensor, transposed }: GraphWeight,
    tensors: readonly PlannedTensor[],
  ): Piece {
    const t = tensors.find((p) => p.name === tensor.name);
    if (!t) {
      throw new StockpotError(
        'MISMATCH',
        `the soup has no tensor "${tensor.name}", which the graph needs`,
        {
          tensor: tensor.name,
          remedy: 'Do not leave it out with --include or --exclude.',
        },
      );
    }
    if (!transposed) return { slot, plan: { ...t, name: slot.name } };
    const places = t.places.map((p) => p && ([p[0], transposedEntry(p[1])] as const));
    return { slot, plan: { ...t, name: slot.name, shape: [...t.shape].reverse(), places } };
  }

  /** The graph is the same for every mix of the same types. */
  private async writeGraph(pieces: readonly Piece[]): Promise<void> {
    const layout = JSON.stringify(pieces.map((p) => [p.slot.name, p.plan.dtype]));
    if (layout === this.written) return;
    const filled = new Set(pieces.map((p) => p.slot.name));
    const replaced = new Set(pieces.flatMap((p) => (p.slot.node ? [p.slot.node] : [])));
    const initializers: Uint8Array[] = [];
    for (const t of this.model.initializers) {
      if (filled.has(t.name)) continue;
      if (t.data instanceof Uint8Array) initializers.push(t.raw);
      else if (isKnown(t))
        initializers.push(
          inlineInitializer(t.name, t.dtype, t.shape, await elementsOf(this.path, t)),
        );
    }
    let offset = 0;
    for (const { slot } of pieces) {
      const { name, dtype, shape } = slot;
      const length = elementCount(shape) * byteSize(dtype);
      initializers.push(
        externalInitializer({ name, dtype, shape, location: WEIGHTS, offset, length }),
      );
      offset += length;
    }
    const bytes = writeOnnx(this.model, {
      nodes: this.model.nodes.filter((n) => !replaced.has(n)).map((n) => n.raw),
      initializers,
      inputs: this.model.inputs.map((i) => i.raw),
      outputs: this.model.outputs.map((o) => o.raw),
    });
    await writeFile(this.graph, bytes).catch((cause) => {
      throw writeError(this.graph, cause, MAKE_ROOM);
    });
    this.written = layout;
  }
}

async function mixToFile(
  handle: FileHandle,
  path: string,
  checkpoints: readonly Checkpoint[],
  pieces: readonly Piece[],
  run: RunOptions & Allowances,
): Promise<void> {
  if (pieces.length === 0) return;
  const tensors = pieces.map((p) => p.plan);
  const { findings } = await execute(checkpoints, [{ name: '', tensors }], {
    ...run,
    // The graph's device is another matter.
    device: undefined,
    onProgress: undefined,
    // Not the sink for files, which would wait for the disk.
    sink: 'pipe',
    outputs: [{ fd: handle.fd, prefix: new Uint8Array(), path }],
  });
  judge(findings, tensors, checkpoints, run);
}

/** Rounds to the soup's type first, as it is saved, and then to the graph's. */
async function mixConverted(
  handle: FileHandle,
  checkpoints: readonly Checkpoint[],
  pieces: readonly Piece[],
  run: RunOptions & Allowances,
): Promise<void> {
  const mixed = await mixToMemory(
    checkpoints,
    pieces.map((p) => p.plan),
    run,
  );
  for (const { plan, slot } of pieces) {
    const bytes = convert(mixed.get(plan.name) as Uint8Array, plan.dtype, slot.dtype as DType);
    await handle.writeFile(bytes);
  }
}

function groups(pieces: readonly Piece[]): Piece[][] {
  const out: Piece[][] = [];
  let bytes = Number.POSITIVE_INFINITY;
  for (const p of pieces) {
    const size = tensorBytes(p.plan);
    if (bytes + size > GROUP) {
      out.push([]);
      bytes = 0;
    }
    out.at(-1)?.push(p);
    bytes += size;
  }
  return out;
}
