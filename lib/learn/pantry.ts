import { OpenSources, type Place, type Sources } from '../checkpoint/source_table.js';
import type { Checkpoint } from '../checkpoint/types.js';
import type { Engine } from '../evaluate/engine.js';
import { DeviceSources } from '../merge/device_sources.js';
import { HeldSources, heldBytes } from '../merge/held.js';
import type { Matched } from '../merge/match.js';
import type { RunOptions } from '../progress.js';
import type { LearningPlan } from './plan.js';

/** A tensor of the network and where every ingredient has it. */
export interface PantryTensor {
  /** In the soup. */
  name: string;
  storedName: string;
  /** One an ingredient. */
  places: readonly Place[];
}

export const pantryTensor = ({ name, entries }: Matched): PantryTensor => ({
  name,
  storedName: entries[0]?.name as string,
  places: entries.map((e, i) => (e ? ([i, e] as const) : null)),
});

/** Bytes that these tensors of all ingredients take in memory. */
export const pantryBytes = (tensors: readonly PantryTensor[]): number =>
  tensors.reduce(
    (sum, { places }) => sum + places.reduce((n, p) => n + (p ? heldBytes(p[1]) : 0), 0),
    0,
  );

/** Memory of the process, or of a device, that tensors are read into. */
type Block = HeldSources | DeviceSources;

/**
 * The ingredients' tensors between the passes of a run that goes over them again and again: in memory, or in files that
 * stay open, from which they are streamed.
 */
export class Pantry {
  private constructor(
    readonly files: OpenSources,
    private readonly held: Block | undefined,
    private readonly blocks: Block[],
    private readonly run: RunOptions,
  ) {}

  /** @throws StockpotError IO, CHANGED, … */
  static async open(
    checkpoints: readonly Checkpoint[],
    tensors: readonly PantryTensor[],
    plan: LearningPlan,
    run: RunOptions,
    { device }: Engine,
  ): Promise<Pantry> {
    const files = await OpenSources.open(checkpoints);
    const made: Block[] = [];
    try {
      const make = (bytes: number) => {
        const block = device ? new DeviceSources(files, bytes, device) : new HeldSources(bytes);
        made.push(block);
        return block;
      };
      if (plan.residence === 'memory') {
        const held = make(pantryBytes(tensors));
        await fill(held, files, tensors, run);
        await files.checkUnchanged();
        return new Pantry(files, held, [], run);
      }
      const blocks = Array.from({ length: plan.blocks }, () =>
        make(plan.ingredients / plan.blocks),
      );
      return new Pantry(files, undefined, blocks, run);
    } catch (e) {
      for (const block of made) await block.close();
      await files.close();
      throw e;
    }
  }

  /** Where a pass over all tensors reads them. */
  get all(): Sources {
    return this.held ?? this.files;
  }

  /** Whether a group at a time is read into memory. */
  get byGroup(): boolean {
    return this.blocks.length > 0;
  }

  /** Reads one group after the other into memory; with two blocks, the next one is read while one is worked on. */
  async eachGroup(
    groups: readonly (readonly PantryTensor[])[],
    work: (group: number, held: Sources) => Promise<void>,
  ): Promise<void> {
    const block = (g: number) => this.blocks[g % this.blocks.length] as Block;
    const read = (g: number) =>
      fill(block(g), this.files, groups[g] as readonly PantryTensor[], this.run);
    const ahead = this.blocks.length > 1;
    let reading = groups.length > 0 ? read(0) : undefined;
    for (let g = 0; g < groups.length; g++) {
      await reading;
      reading = ahead && g + 1 < groups.length ? read(g + 1) : undefined;
      // Its failure is waited for below, whatever the work does.
      reading?.catch(() => {});
      try {
        await work(g, block(g));
      } catch (e) {
        await reading?.catch(() => {});
        throw e;
      }
      if (!ahead && g + 1 < groups.length) reading = read(g + 1);
    }
  }

  async close(): Promise<void> {
    for (const block of [...this.blocks, ...(this.held ? [this.held] : [])]) await block.close();
    await this.files.close();
  }
}

function fill(
  block: Block,
  files: OpenSources,
  tensors: readonly PantryTensor[],
  run: RunOptions,
): Promise<void> {
  const places = tensors.flatMap((t) => t.places);
  const names = tensors.flatMap((t) => t.places.flatMap((p) => (p ? [t.name] : [])));
  const quiet = { ...run, onProgress: undefined };
  return block instanceof HeldSources
    ? block.fill(files, places, (i) => names[i], quiet)
    : block.fill(places, (i) => names[i], quiet);
}
