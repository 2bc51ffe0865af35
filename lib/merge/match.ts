import picomatch from 'picomatch';
import { isFloat } from '../checkpoint/dtype.js';
import { remembering } from '../checkpoint/remember.js';
import { showShape } from '../checkpoint/shape.js';
import type { Checkpoint, TensorEntry } from '../checkpoint/types.js';
import { type Mismatch, StockpotError } from '../errors.js';
import { bringNamesTogether, type Renamed } from './names.js';
import { aliases, sameTensor } from './ties.js';

export interface MatchOptions {
  /** Globs of tensor names; only those that match one take part. All by default. */
  include?: readonly string[];
  /** Globs of tensor names that take no part, and are not in the soup. */
  exclude?: readonly string[];
}

/** One tensor of the soup and where each ingredient has it. */
export interface Matched {
  /** Name in the soup: the first ingredient's, prefixes stripped. */
  name: string;
  /** One an ingredient; null where a buffer is not stored. The first is never null. */
  entries: (TensorEntry | null)[];
}

export interface Matching {
  tensors: Matched[];
  /** Tensors left out by --include/--exclude. */
  left: string[];
  notes: string[];
}

/**
 * Buffers that newer libraries stopped storing: all can be rebuilt, so a file may lack them (behaviour 12).
 */
const OPTIONAL =
  /(^|\.)(position_ids|token_type_ids|masked_bias|relative_position_index|relative_coords_table|rotary_emb\.inv_freq|attn_mask)$|(^|\.)h\.\d+\.attn\.bias$/;

/**
 * Matches the ingredients' tensors by name (behaviours 9 to 13).
 * @throws StockpotError MISMATCH with every missing and extra tensor and every shape that differs in `details`;
 *   USAGE where the globs leave nothing
 */
export async function matchTensors(
  checkpoints: readonly Checkpoint[],
  options: MatchOptions = {},
): Promise<Matching> {
  requireGlobs('include', options.include);
  requireGlobs('exclude', options.exclude);
  const { tensors, left, notes } = await match(checkpoints, options);
  return { tensors, left: [...left], notes: [...notes] };
}

/** What callers without types may give. @throws StockpotError USAGE */
function requireGlobs(option: string, globs: unknown): void {
  if (globs === undefined || (Array.isArray(globs) && globs.every((g) => typeof g === 'string')))
    return;
  throw new StockpotError(
    'USAGE',
    `expected ${option} to be a list of globs but received ${String(globs)}`,
  );
}

const match = remembering(matchAnew, ({ include, exclude }) => JSON.stringify([include, exclude]));

async function matchAnew(
  checkpoints: readonly Checkpoint[],
  options: MatchOptions,
): Promise<Matching> {
  const { renamed, tied, notes } = bringNamesTogether(checkpoints);
  const chosen = chooser(options);
  const first = renamed[0] as Renamed;
  const left = new Set<string>();
  for (const names of renamed) {
    for (const name of names.keys()) if (!chosen(name)) left.add(name);
  }
  const details: Mismatch[] = [];
  const tensors: Matched[] = [];
  for (const name of first.keys()) {
    if (left.has(name)) continue;
    const entries: (TensorEntry | null)[] = [];
    for (const [i, names] of renamed.entries()) {
      const found =
        names.get(name) ?? (await tiedEntry(name, i, renamed, tied, checkpoints, notes));
      if (found === undefined && !OPTIONAL.test(name)) {
        details.push({
          file: checkpoints[i]?.path,
          tensor: name,
          message: `is missing (${show(first.get(name))} in ${checkpoints[0]?.path})`,
        });
      }
      entries.push(found ?? null);
    }
    checkShapes(name, entries, checkpoints, details);
    if (entries.includes(null) && OPTIONAL.test(name)) {
      const without = checkpoints.filter((_, i) => entries[i] === null).map((c) => c.path);
      notes.push(
        `The buffer "${name}" is not stored in ${without.join(', ')}; it is taken from those that have it.`,
      );
    }
    tensors.push({ name, entries });
  }
  for (const [i, names] of renamed.entries()) {
    for (const [name, entry] of names) {
      if (first.has(name) || left.has(name)) continue;
      if (OPTIONAL.test(name)) {
        notes.push(
          `The buffer "${name}" of ${checkpoints[i]?.path} is not in the first ingredient; it is left out.`,
        );
      } else if (await isDuplicate(name, entry, i, names, first, tied, checkpoints)) {
        notes.push(
          `${checkpoints[i]?.path}: "${name}" is a tied copy; the soup stores it as the first ingredient does.`,
        );
      } else {
        details.push({
          file: checkpoints[i]?.path,
          tensor: name,
          message: `is not in ${checkpoints[0]?.path} (${show(entry)})`,
        });
      }
    }
  }
  if (details.length > 0) throw mismatch(details, checkpoints);
  if (tensors.length === 0) {
    throw new StockpotError('USAGE', `--include and --exclude leave none of ${first.size} tensors`);
  }
  return { tensors, left: [...left], notes };
}

function chooser({ include = [], exclude = [] }: MatchOptions): (name: string) => boolean {
  // `bash`: a star also matches dots and slashes, as users expect of names like encoder.layer.0.
  const any = (globs: readonly string[]) => {
    const matchers = globs.map((g) => picomatch(g, { dot: true, bash: true }));
    return (name: string) => matchers.some((m) => m(name));
  };
  const included = any(include);
  const excluded = any(exclude);
  return (name) => (include.length === 0 || included(name)) && !excluded(name);
}

/** The tensor that ingredient `i` stores under another name because the two are tied (behaviour 11). */
async function tiedEntry(
  name: string,
  i: number,
  renamed: readonly Renamed[],
  groups: readonly (readonly string[])[],
  checkpoints: readonly Checkpoint[],
  notes: string[],
): Promise<TensorEntry | undefined> {
  for (const alias of aliases(name, groups)) {
    const entry = renamed[i]?.get(alias);
    if (!entry) continue;
    // Tied only if every file that stores both names stores the same values.
    let tied = true;
    for (const [j, names] of renamed.entries()) {
      const a = names.get(name);
      const b = names.get(alias);
      if (a && b) tied = tied && (await sameTensor(checkpoints[j] as Checkpoint, a, b));
    }
    if (!tied) continue;
    notes.push(`${checkpoints[i]?.path}: "${name}" is tied to "${alias}" and read from there.`);
    return entry;
  }
  return undefined;
}

/** Whether an extra tensor is a copy of a tied one that the first ingredient stores under another name. */
async function isDuplicate(
  name: string,
  entry: TensorEntry,
  i: number,
  names: Renamed,
  first: Renamed,
  groups: readonly (readonly string[])[],
  checkpoints: readonly Checkpoint[],
): Promise<boolean> {
  for (const alias of aliases(name, groups)) {
    const other = names.get(alias);
    if (!first.has(alias)) continue;
    if (!other || (await sameTensor(checkpoints[i] as Checkpoint, entry, other))) return true;
  }
  return false;
}

const show = (e: TensorEntry | undefined): string => (e ? `${e.dtype} ${showShape(e.shape)}` : '');

function checkShapes(
  name: string,
  entries: readonly (TensorEntry | null)[],
  checkpoints: readonly Checkpoint[],
  details: Mismatch[],
): void {
  const reference = entries.find((e) => e !== null);
  entries.forEach((e, i) => {
    if (!e || !reference) return;
    const file = checkpoints[i]?.path;
    if (e.shape.join() !== reference.shape.join()) {
      details.push({
        file,
        tensor: name,
        message: `has shape ${showShape(e.shape)}, expected ${showShape(reference.shape)} as in ${checkpoints[0]?.path}`,
      });
    } else if (isFloat(e.dtype) !== isFloat(reference.dtype)) {
      details.push({
        file,
        tensor: name,
        message: `is ${e.dtype}, expected a ${isFloat(reference.dtype) ? 'floating-point' : 'integer'} type like ${reference.dtype} in ${checkpoints[0]?.path}`,
      });
    } else if (!isFloat(e.dtype) && e.dtype !== reference.dtype) {
      details.push({
        file,
        tensor: name,
        message: `is ${e.dtype}, expected ${reference.dtype} as in ${checkpoints[0]?.path}: integer tensors are copied, not converted`,
      });
    }
  });
}

const FUSED = /(qkv|in_proj_weight|in_proj_bias|c_attn|Wqkv)(\.|$)/;
const SPLIT = /(^|\.)(q_proj|k_proj|v_proj|query|key|value|q|k|v)\.(weight|bias)$/;

function mismatch(details: Mismatch[], checkpoints: readonly Checkpoint[]): StockpotError {
  const lead = details[0] as Mismatch;
  const more = details.length > 1 ? ` (and ${details.length - 1} more)` : '';
  const names = details.map((d) => d.tensor ?? '');
  const layouts = names.some((n) => FUSED.test(n)) && names.some((n) => SPLIT.test(n));
  return new StockpotError(
    'MISMATCH',
    `${lead.file}: tensor "${lead.tensor}" ${lead.message}${more}`,
    {
      file: lead.file,
      tensor: lead.tensor,
      details,
      remedy: layouts
        ? 'One ingredient stores attention with fused query-key-value tensors, another with split ones: different layouts of the same network. Convert them to one layout first.'
        : details.every(
              (d) => d.message.startsWith('is missing') || d.message.startsWith('is not in'),
            )
          ? `Ingredients must have the same tensors as ${checkpoints[0]?.path}. Leave out those that differ (a head, say) with --exclude 'GLOB', or take only some with --include 'GLOB'.`
          : "Ingredients must agree in names, shapes and kinds. Leave out tensors that differ (a head, say) with --exclude 'GLOB'.",
    },
  );
}
