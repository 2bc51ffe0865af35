import type { Hash } from 'node:crypto';
import type { Encoded } from './special_tokens.js';

/** The tokens of many texts of different lengths, one after another. */
export class TokenStore {
  private ids = new Int32Array(2 ** 16);
  private types = new Uint8Array(2 ** 16);
  /** Where each text begins, and the last one ends. */
  private readonly starts: number[] = [0];

  add({ ids, types }: Encoded): void {
    const from = this.starts.at(-1) as number;
    const to = from + ids.length;
    if (to > this.ids.length) this.grow(Math.max(to, 2 * this.ids.length));
    this.ids.set(ids, from);
    this.types.set(types, from);
    this.starts.push(to);
  }

  private grow(size: number): void {
    const [ids, types] = [new Int32Array(size), new Uint8Array(size)];
    ids.set(this.ids);
    types.set(this.types);
    this.ids = ids;
    this.types = types;
  }

  /** Tokens of a text. */
  length(example: number): number {
    return this.end(example) - this.start(example);
  }

  private start(example: number): number {
    return this.starts[example] as number;
  }

  private end(example: number): number {
    return this.starts[example + 1] as number;
  }

  /** The inputs of a network: [examples.length, length] each. The padding is masked and of the first type. */
  padded(
    examples: readonly number[],
    length: number,
    padding: number,
  ): Record<'input_ids' | 'attention_mask' | 'token_type_ids', Int32Array> {
    const n = examples.length * length;
    const input_ids = new Int32Array(n).fill(padding);
    const attention_mask = new Int32Array(n);
    const token_type_ids = new Int32Array(n);
    for (const [row, example] of examples.entries()) {
      const [from, to] = [this.start(example), this.end(example)];
      if (to - from > length)
        throw new RangeError(`example ${example} has ${to - from} tokens, more than ${length}`);
      const at = row * length;
      input_ids.set(this.ids.subarray(from, to), at);
      token_type_ids.set(this.types.subarray(from, to), at);
      attention_mask.fill(1, at, at + to - from);
    }
    return { input_ids, attention_mask, token_type_ids };
  }

  update(hash: Hash, example: number): void {
    const [from, to] = [this.start(example), this.end(example)];
    hash.update(new Uint8Array(this.ids.buffer, 4 * from, 4 * (to - from)));
    hash.update(this.types.subarray(from, to));
  }
}
