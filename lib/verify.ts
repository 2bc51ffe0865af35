import { stat } from 'node:fs/promises';
import { dirname, isAbsolute, join } from 'node:path';
import { isFloat } from './checkpoint/dtype.js';
import { fileHashes, folderHash } from './checkpoint/hash.js';
import { openCheckpoint, statOrRefuse } from './checkpoint/open.js';
import { type IngredientRecord, readRecord, type SoupRecord } from './checkpoint/record.js';
import { showShape } from './checkpoint/shape.js';
import { OpenSources } from './checkpoint/source_table.js';
import type { Checkpoint, TensorEntry } from './checkpoint/types.js';
import { type Mismatch, StockpotError } from './errors.js';
import { execute, judge } from './merge/execute.js';
import { groupMixture } from './merge/groups.js';
import { matchTensors } from './merge/match.js';
import { type OutputDType, type PlannedTensor, planTensors } from './merge/plan.js';
import { resolveWeights } from './merge/weights.js';
import type { RunOptions } from './progress.js';

/** What could be proved of a soup, and what not. */
export interface Verification {
  soup: string;
  /** The soup is bit for bit what its record says, as far as the ingredients are the recorded ones (see `unproved`). */
  verified: boolean;
  record: SoupRecord;
  /** The soup's hash, as the recipe reported it. */
  sha256: string;
  ingredients: {
    path: string;
    /** How it was recognised: by its content's hash, or only by size, time and header. */
    identity: 'sha256' | 'header' | 'changed';
  }[];
  /** What could not be proved, one sentence each. */
  unproved: string[];
  /** Tensors that are not what they should be. */
  mismatches: Mismatch[];
}

export interface VerifyOptions extends RunOptions {
  /** Where the ingredients are now, one each, if no longer where the record says. */
  ingredients?: readonly string[];
}

/**
 * Proves that a soup is what its record says: reads ingredients and soup again, repeats the merge, and compares bit for
 * bit. Nothing is written.
 * @throws StockpotError VERIFY where there is no record or an ingredient is missing; a soup that differs does not throw
 *   but has `verified: false`
 */
export async function verify(
  soup: string | Checkpoint,
  options: VerifyOptions = {},
): Promise<Verification> {
  const made = typeof soup === 'string' ? await openCheckpoint(soup) : soup;
  const record = await readRecord(made);
  if (!record) {
    throw new StockpotError('VERIFY', `${made.path}: carries no record of a soup`, {
      file: made.path,
      remedy:
        'Only soups made by stockpot can be verified; compare two checkpoints with: stockpot diff A B',
    });
  }
  const paths = await locate(made, record, options.ingredients);
  const checkpoints: Checkpoint[] = [];
  for (const [i, path] of paths.entries()) {
    checkpoints.push(await openCheckpoint(path, { key: record.ingredients[i]?.key }));
  }
  const unproved: string[] = [];
  const identities = await identify(checkpoints, record, unproved, options);
  const { tensors, notSame } = await expected(made, checkpoints, record, unproved);
  const mismatches = notSame;
  if (tensors.length > 0) mismatches.push(...(await compare(made, checkpoints, tensors, options)));
  const hashes = (await fileHashes([made], options))[0] as string[];
  const isFolder = (await statOrRefuse(made.path)).isDirectory();
  return {
    soup: made.path,
    verified: mismatches.length === 0 && !identities.includes('changed'),
    record,
    sha256: isFolder
      ? folderHash(
          new Map(
            made.files.map((f, i) => [
              f.path.slice(made.path.replace(/\/+$/, '').length + 1),
              hashes[i] as string,
            ]),
          ),
        )
      : (hashes[0] as string),
    ingredients: checkpoints.map((c, i) => ({ path: c.path, identity: identities[i] as 'sha256' })),
    unproved,
    mismatches,
  };
}

/** Where the ingredients are: as given now, as recorded (from here, then from where the soup lies). */
async function locate(
  made: Checkpoint,
  record: SoupRecord,
  given?: readonly string[],
): Promise<string[]> {
  if (given && given.length > 0) {
    if (given.length !== record.ingredients.length) {
      throw new StockpotError(
        'USAGE',
        `expected ${record.ingredients.length} ingredients but received ${given.length}`,
      );
    }
    return [...given];
  }
  const exists = (p: string) =>
    stat(p).then(
      () => true,
      () => false,
    );
  const paths: string[] = [];
  const missing: Mismatch[] = [];
  for (const { path } of record.ingredients) {
    const beside = isAbsolute(path) ? path : join(dirname(made.path), path);
    if (await exists(path)) paths.push(path);
    else if (await exists(beside)) paths.push(beside);
    else missing.push({ file: path, message: 'the ingredient is not there' });
  }
  if (missing.length > 0) {
    throw new StockpotError(
      'VERIFY',
      `${made.path}: nothing can be proved: the ingredient ${missing[0]?.file} is not there${missing.length > 1 ? ` (and ${missing.length - 1} more)` : ''}`,
      {
        file: missing[0]?.file,
        details: missing,
        remedy: 'Name the ingredients after the soup, in the order of its record.',
      },
    );
  }
  return paths;
}

async function identify(
  checkpoints: readonly Checkpoint[],
  record: SoupRecord,
  unproved: string[],
  run: RunOptions,
): Promise<('sha256' | 'header' | 'changed')[]> {
  const hashed = record.ingredients.every((i) => i.files.every((f) => f.sha256 !== undefined));
  const hashes = hashed ? await fileHashes(checkpoints, run) : undefined;
  const identities = checkpoints.map((c, i) => {
    const was = (record.ingredients[i] as IngredientRecord).files;
    const same = (now: Checkpoint['files'][number], j: number) =>
      hashes
        ? hashes[i]?.[j] === was[j]?.sha256
        : now.size === was[j]?.size && now.headerHash === was[j]?.headerHash;
    if (c.files.length !== was.length || !c.files.every(same)) {
      unproved.push(`${c.path} is not the file that the soup was made from: it changed since.`);
      return 'changed' as const;
    }
    if (!hashes && !c.files.every((f, j) => f.mtimeNs === was[j]?.mtimeNs)) {
      unproved.push(
        `${c.path} has the recorded size and header but another time: only the result shows that its values are the same.`,
      );
    }
    return hashes ? ('sha256' as const) : ('header' as const);
  });
  if (!hashed) {
    unproved.push(
      'The record has no content hashes of the ingredients (made without --hash): that they are the same files is shown by size, header and the result only.',
    );
  }
  return identities;
}

/** The tensors that the soup should have, in the order in which it stores them, and those that it lacks or has too much. */
async function expected(
  made: Checkpoint,
  checkpoints: readonly Checkpoint[],
  record: SoupRecord,
  unproved: string[],
) {
  const o = record.options;
  const globs = (v: unknown) =>
    Array.isArray(v) ? v.filter((g): g is string => typeof g === 'string') : undefined;
  const { tensors: matched } = await matchTensors(checkpoints, {
    include: globs(o.include),
    exclude: globs(o.exclude),
  });
  const mixture = record.mixture
    ? await groupMixture(checkpoints, matched, record.mixture)
    : resolveWeights(checkpoints.length, record.weights);
  const planned = planTensors(matched, mixture, (o.dtype as OutputDType) ?? 'keep');
  const notSame: Mismatch[] = [];
  const tensors: PlannedTensor[] = [];
  const names = new Set(planned.map((t) => t.name));
  for (const t of planned) {
    const is = made.tensors.get(t.name);
    if (!is) notSame.push({ file: made.path, tensor: t.name, message: 'is missing from the soup' });
    else if (is.dtype !== t.dtype || String(is.shape) !== String(t.shape)) {
      notSame.push({
        file: made.path,
        tensor: t.name,
        message: `is ${is.dtype} ${showShape(is.shape)}, expected ${t.dtype} ${showShape(t.shape)}`,
      });
    } else tensors.push(t);
  }
  for (const name of made.tensors.keys()) {
    if (!names.has(name))
      notSame.push({
        file: made.path,
        tensor: name,
        message: 'is in the soup but in no ingredient',
      });
  }
  if (record.details?.recomputedBatchNorm !== undefined) {
    const again = tensors.filter((t) => /\.running_(mean|var)$/.test(t.name));
    for (const t of again) tensors.splice(tensors.indexOf(t), 1);
    unproved.push(
      `${again.length} batch-norm statistics were computed again on data; they are not compared.`,
    );
  }
  const place = (t: PlannedTensor) => made.tensors.get(t.name) as TensorEntry;
  tensors.sort((a, b) => place(a).file - place(b).file || place(a).offset - place(b).offset);
  return { tensors, notSame };
}

/** Repeats the merge into a comparison with each of the soup's files. */
async function compare(
  made: Checkpoint,
  checkpoints: readonly Checkpoint[],
  tensors: PlannedTensor[],
  options: RunOptions,
): Promise<Mismatch[]> {
  const sources = await OpenSources.open([made]);
  try {
    // One output a tensor, at its own place in the soup, so that a soup with other tensors beside compares too.
    const shards = tensors.map((t) => ({ name: t.name, tensors: [t] }));
    const outputs = tensors.map((t) => {
      const { file, offset } = made.tensors.get(t.name) as TensorEntry;
      return {
        fd: sources.descriptor(0, file),
        offset,
        prefix: new Uint8Array(),
        path: made.files[file]?.path ?? '',
      };
    });
    const { findings } = await execute(checkpoints, shards, {
      ...options,
      sink: 'compare',
      outputs,
      phase: 'verify',
    });
    judge(
      findings.filter((f) => f.kind === 'unequal'),
      tensors,
      checkpoints,
      {},
    );
    return findings
      .filter((f) => f.kind === 'differs')
      .map((f) => {
        const t = tensors[f.segment] as PlannedTensor;
        const by = isFloat(t.dtype) ? `, by at most ${f.largest.toPrecision(3)}` : '';
        return {
          file: made.path,
          tensor: t.name,
          message: `differs in ${f.count} elements${by}, the first at index ${f.first}`,
        };
      });
  } finally {
    await sources.close();
  }
}
