import type { Checkpoint } from '../checkpoint/types.js';
import { StockpotError } from '../errors.js';
import type { Config } from './config.js';
import type { Network } from './graph.js';

/** Sizes of the data, which neither config nor weights say. */
export interface Dimensions {
  /** Of `input_ids`: tokens an example. */
  sequenceLength?: number;
  /** Zero-shot: number of classes and tokens of `class_input_ids`. */
  classes?: { n: number; sequenceLength: number };
  /** Text-to-text: the classes' label words, one row a class, 0 for padding. */
  labelIds?: readonly (readonly number[])[];
  /**
   * Names of the input tensors that the data has. Without them, all optional ones (`attention_mask`, `token_type_ids`,
   * `class_attention_mask`) become inputs; with them, those absent are left out, as the field's libraries do.
   */
  inputs?: readonly string[];
}

/** Everything that a family's file needs to write its network down. */
export interface Source {
  checkpoint: Checkpoint;
  config: Config;
  dimensions: Dimensions;
}

export type Family = (source: Source) => Network;

/** Whether an optional input takes part. */
export const hasInput = ({ inputs }: Dimensions, name: string): boolean =>
  inputs === undefined || inputs.includes(name);

/** A size of the data that this family needs. */
export function needed<T>(value: T | undefined, path: string, what: string): T {
  if (value !== undefined) return value;
  throw new StockpotError('USAGE', `${path}: this network needs ${what}`, { file: path });
}

/** Refuses more tokens than the table of positions has. */
export function checkLength(path: string, input: string, tokens: number, maximum: number): void {
  if (tokens <= maximum) return;
  throw new StockpotError(
    'MISMATCH',
    `${path}: ${input} has ${tokens} tokens, but the network takes at most ${maximum}`,
    { file: path, remedy: 'Cut the texts shorter.' },
  );
}

/** The heads' width, which must be whole. */
export function headWidth(config: Config, width: number, heads: number): number {
  if (width % heads === 0) return width / heads;
  throw config.unsupported(`${heads} attention heads over a width of ${width}`);
}
