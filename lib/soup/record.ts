import { basename } from 'node:path';
import { METADATA_KEY, type SoupRecord } from '../checkpoint/record.js';
import type { Checkpoint } from '../checkpoint/types.js';
import { version } from '../version.js';
import type { Prepared } from './prepare.js';
import type { RecipeOptions } from './soup.js';

/** @param hashes of each ingredient's files, where they are wanted */
export function makeRecord(
  recipe: string,
  { checkpoints, weighting }: Prepared,
  options: RecipeOptions,
  hashes: readonly (readonly string[])[] | undefined,
  details: Record<string, unknown> | undefined,
): SoupRecord {
  const {
    dtype = 'keep',
    normalize,
    include,
    exclude,
    allowNonfinite,
    allowOverflow,
    key,
  } = options;
  return {
    stockpot: version,
    recipe,
    ingredients: checkpoints.map((c, i) => ({
      path: c.path,
      ...(c.key === undefined ? {} : { key: c.key }),
      files: c.files.map((f, j) => ({
        name: basename(f.path),
        size: f.size,
        mtimeNs: f.mtimeNs,
        headerHash: f.headerHash,
        ...(hashes ? { sha256: hashes[i]?.[j] } : {}),
      })),
    })),
    members: weighting.members,
    weights: weighting.weights,
    // JSON leaves out what is undefined.
    mixture: options.mixture && {
      by: options.mixture.by,
      alpha: Object.fromEntries(
        Object.entries(options.mixture.alpha).map(([group, row]) => [group, [...row]]),
      ),
    },
    options: { dtype, normalize, include, exclude, allowNonfinite, allowOverflow, key },
    details,
  };
}

/** The metadata of an output file: the first ingredient's own strings, and what loaders look for. */
export const metadataOf = (first: Checkpoint, record?: SoupRecord): Record<string, string> => {
  const { [METADATA_KEY]: _old, ...kept } = first.metadata;
  return { ...kept, format: 'pt', ...(record ? { [METADATA_KEY]: JSON.stringify(record) } : {}) };
};
