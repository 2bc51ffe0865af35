import { join } from 'node:path';
import type { Checkpoint } from '../checkpoint/types.js';
import { MAKE_ROOM, TemporaryFolder } from '../checkpoint/unfinished.js';
import { toFloat32 } from '../data/numbers.js';
import { StockpotError } from '../errors.js';
import { type GroupWeights, groupMixture } from '../merge/groups.js';
import { matchTensors } from '../merge/match.js';
import { type PlannedTensor, planTensors } from '../merge/plan.js';
import { mixToMemory } from '../merge/to_memory.js';
import { resolveWeights } from '../merge/weights.js';
import type { RunOptions } from '../progress.js';
import { makeSoup } from '../soup/make.js';
import type { SoupOptions } from '../soup/soup.js';
import type { Candidate, SoupTensor } from './evaluator.js';

/**
 * A soup that is to be evaluated, before it is made.
 * @param recipe what its record says, where it is saved
 * @param weights one an ingredient; or rows by group of tensors
 */
export function makeCandidate(
  recipe: string,
  checkpoints: readonly Checkpoint[],
  weights: readonly number[] | GroupWeights,
  options: SoupOptions & RunOptions,
): Candidate {
  const mixture = 'by' in weights ? weights : undefined;
  const row = 'by' in weights ? undefined : weights;
  const rows = mixture ? Object.values(mixture.alpha) : [row ?? []];
  const given = { ...options, onProgress: undefined, weights: row, normalize: false, mixture };
  let planned: Promise<readonly PlannedTensor[]> | undefined;
  const plan = () => {
    planned ??= planOf(checkpoints, row, mixture, options);
    return planned;
  };
  const save: Candidate['save'] = (output) =>
    makeSoup(recipe, checkpoints, output, { ...given, dryRun: false, overwrite: true });
  return {
    ingredients: checkpoints,
    members: [...checkpoints.keys()].filter((i) => rows.some((r) => r[i] !== 0)),
    weights: row ?? [],
    mixture,
    dtype: options.dtype,
    allow: { allowNonfinite: options.allowNonfinite, allowOverflow: options.allowOverflow },
    save,
    tensors: async () => (await plan()).map(({ name, dtype, shape }) => ({ name, dtype, shape })),
    tensor: async (name) => readTensor(name, checkpoints, await plan(), options),
    inFolder: (use) => inFolder(save, use),
  };
}

async function planOf(
  checkpoints: readonly Checkpoint[],
  row: readonly number[] | undefined,
  mixture: GroupWeights | undefined,
  options: SoupOptions,
): Promise<readonly PlannedTensor[]> {
  const { tensors } = await matchTensors(checkpoints, options);
  const weighting = mixture
    ? await groupMixture(checkpoints, tensors, mixture)
    : resolveWeights(checkpoints.length, row);
  return planTensors(tensors, weighting, options.dtype ?? 'keep');
}

async function readTensor(
  name: string,
  checkpoints: readonly Checkpoint[],
  plan: readonly PlannedTensor[],
  options: SoupOptions & RunOptions,
): Promise<SoupTensor> {
  const t = plan.find((p) => p.name === name);
  if (!t)
    throw new StockpotError('USAGE', `the soup has no tensor "${name}"`, {
      tensor: name,
      remedy: 'Ask for a name that tensors() gives.',
    });
  const bytes = (await mixToMemory(checkpoints, [t], options)).get(name) as Uint8Array;
  const { dtype, shape } = t;
  return {
    name,
    dtype,
    shape,
    bytes,
    float32: () => {
      const made = toFloat32(dtype, bytes);
      if (typeof made !== 'string') return made;
      throw new StockpotError('USAGE', `tensor "${name}" is ${dtype}, not floating-point`, {
        tensor: name,
      });
    },
  };
}

/** Saves the soup in a temporary folder, and removes it when `use` is over, and where the process ends before. */
async function inFolder<T>(
  save: Candidate['save'],
  use: (folder: string) => Promise<T>,
): Promise<T> {
  const temporary = await TemporaryFolder.make('soup');
  try {
    const folder = join(temporary.path, 'soup');
    await save(folder).catch((e) => {
      if (!(e instanceof StockpotError && e.code === 'NO_SPACE')) throw e;
      const { code, message, file } = e;
      throw new StockpotError(code, message, { file, cause: e, remedy: MAKE_ROOM });
    });
    return await use(folder);
  } finally {
    await temporary.remove();
  }
}
