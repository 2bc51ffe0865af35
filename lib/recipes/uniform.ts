import type { Writable } from 'node:stream';
import type { Checkpoint } from '../checkpoint/types.js';
import type { RunOptions } from '../progress.js';
import { makeSoup, type Soup, type SoupOptions } from './soup.js';

export interface UniformOptions extends SoupOptions, RunOptions {}

/**
 * The uniform soup: the mean of all ingredients' weights (Wortsman et al. 2022, section 2, recipe 1), from disk to
 * disk in one streaming pass. The mean is the float64 one, rounded once; see docs/numerics.md.
 *
 * @param ingredients paths of checkpoints (files or folders), or open checkpoints; at least one
 * @param output a path (`*.safetensors` is a file, anything else a folder) or a writable stream, which gets a
 *   safetensors file and is ended
 * @throws StockpotError; on failure and on abort nothing is left behind
 */
export function uniform(
  ingredients: readonly (string | Checkpoint)[],
  output: string | Writable,
  options: UniformOptions = {},
): Promise<Soup> {
  return makeSoup('uniform', ingredients, output, options);
}
