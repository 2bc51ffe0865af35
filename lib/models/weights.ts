import { isFloat } from '../checkpoint/dtype.js';
import { showShape } from '../checkpoint/shape.js';
import type { Checkpoint, TensorEntry } from '../checkpoint/types.js';
import { type Mismatch, StockpotError } from '../errors.js';
import { REMEDY } from './config.js';

/** What training wrappers put before every name: DistributedDataParallel, torch.compile, Lightning, transformers' timm wrapper. */
const WRAPPERS = ['module.', '_orig_mod.', 'model.', 'timm_model.'];
/** How many names a message lists. */
const MAX_NAMED = 4;

/**
 * A checkpoint's tensors under a family's own names (`blocks.0.norm1.weight`), whatever stands before them in the file,
 * and what building a network found out about them: what it used, what is missing, what has another shape.
 */
export class Weights {
  private readonly entries = new Map<string, TensorEntry>();
  private readonly used = new Set<string>();
  private readonly problems = new Map<string, Mismatch>();

  /**
   * @param family for messages, e.g. "ViT (transformers)"
   * @param rename from the name in the file, wrappers' prefixes stripped, to the family's name
   */
  constructor(
    readonly checkpoint: Checkpoint,
    private readonly family: string,
    rename: (name: string) => string = (name) => name,
  ) {
    const prefix = wrapperPrefix(checkpoint);
    for (const [stored, entry] of checkpoint.tensors) {
      const name = rename(stored.slice(prefix.length));
      // A second tensor of one name stays unused, and is refused as left over.
      if (!this.entries.has(name)) this.entries.set(name, entry);
    }
    // Tied tensors: one entry, the first stored, for each of their names.
    for (const group of checkpoint.tied) {
      const first = group.find((n) => checkpoint.tensors.has(n));
      if (first === undefined) continue;
      for (const stored of group) {
        const name = rename(stored.startsWith(prefix) ? stored.slice(prefix.length) : stored);
        this.entries.set(name, checkpoint.tensors.get(first) as TensorEntry);
      }
    }
  }

  has(name: string): boolean {
    return this.entries.has(name);
  }

  /** The first of several names that is there; the first of all where none is. */
  either(first: string, ...others: string[]): string {
    return [first, ...others].find((n) => this.has(n)) ?? first;
  }

  /**
   * The number of blocks `prefix0.`, `prefix1.`, … that the config asks for (all there are by default), and no more than
   * the file has: a block too many is noted as missing, one too few is left over in the end.
   */
  depth(prefix: string, asked?: number): number {
    const numbers = new Set<number>();
    for (const name of this.entries.keys()) {
      if (!name.startsWith(prefix)) continue;
      const digits = /^\d+(?=\.)/.exec(name.slice(prefix.length));
      if (digits) numbers.add(Number(digits[0]));
    }
    let found = 0;
    while (numbers.has(found)) found++;
    if (asked === undefined || asked <= found) return asked ?? found;
    this.note(`${prefix}${found}`, `is missing (the config says ${asked} blocks)`);
    return found;
  }

  /**
   * A tensor's shape, where the network's sizes come from it.
   * @throws StockpotError UNSUPPORTED when it is missing or has another number of dimensions
   */
  shape(name: string, rank: number): readonly number[] {
    const entry = this.entries.get(name);
    if (entry?.shape.length === rank) return entry.shape;
    this.note(
      name,
      entry ? `expected ${rank} dimensions but found ${showShape(entry.shape)}` : 'is missing',
    );
    throw this.refusal();
  }

  /** Counts a tensor as used and gives it as stored; what is wrong with it is kept for `finish`. */
  use(name: string, shape: readonly number[]): { name: string; shape: number[] } {
    const entry = this.entries.get(name);
    this.used.add(entry?.name ?? name);
    if (!entry) {
      this.note(name, `is missing (expected ${showShape(shape)})`);
      return { name, shape: [...shape] };
    }
    if (entry.shape.join() !== shape.join()) {
      this.note(name, `expected ${showShape(shape)} but found ${showShape(entry.shape)}`);
    } else if (!isFloat(entry.dtype)) {
      this.note(name, `expected floating-point numbers but found ${entry.dtype}`);
    }
    return { name: entry.name, shape: [...entry.shape] };
  }

  /**
   * Every tensor of the file must have been used, or be known to play no part: else the network is another one.
   * @param ignored the family's names of tensors that play no part in classification
   * @throws StockpotError UNSUPPORTED with each tensor that is missing, left over, or of another shape, in `details`
   */
  finish(ignored: readonly RegExp[] = []): void {
    for (const [name, entry] of this.entries) {
      if (this.used.has(entry.name) || ignored.some((pattern) => pattern.test(name))) continue;
      this.note(name, `is left over (${showShape(entry.shape)})`);
    }
    if (this.problems.size > 0) throw this.refusal();
  }

  private note(name: string, message: string): void {
    const tensor = this.entries.get(name)?.name ?? name;
    this.problems.set(name, { file: this.checkpoint.path, tensor, message });
  }

  private refusal(): StockpotError {
    const details = [...this.problems.values()];
    const shown = details.slice(0, MAX_NAMED).map((d) => `tensor "${d.tensor}" ${d.message}`);
    const more = details.length > MAX_NAMED ? `; and ${details.length - MAX_NAMED} more` : '';
    return new StockpotError(
      'UNSUPPORTED',
      `${this.checkpoint.path}: recognised as ${this.family}, but not one that stockpot runs: ${shown.join('; ')}${more}`,
      { file: this.checkpoint.path, tensor: details[0]?.tensor, details, remedy: REMEDY },
    );
  }
}

/** The longest chain of wrappers' prefixes that every name has. */
function wrapperPrefix(checkpoint: Checkpoint): string {
  const names = [...checkpoint.tensors.keys()];
  if (names.length === 0) return '';
  let prefix = '';
  for (;;) {
    const next = WRAPPERS.find((w) => names.every((n) => n.startsWith(prefix + w)));
    if (next === undefined) return prefix;
    prefix += next;
  }
}
