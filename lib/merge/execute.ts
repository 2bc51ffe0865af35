import { dtypeIndex } from '../checkpoint/dtype.js';
import { runJob } from '../checkpoint/job.js';
import { elementCount } from '../checkpoint/shape.js';
import { OpenSources, type Sources } from '../checkpoint/source_table.js';
import type { Checkpoint } from '../checkpoint/types.js';
import { chooseDevice } from '../cuda.js';
import { type Mismatch, StockpotError } from '../errors.js';
import {
  type Finding,
  type MergeResult,
  type MergeTable,
  type NetworkHandle,
  native,
  OP,
} from '../native.js';
import type { RunOptions } from '../progress.js';
import { resolveMemory, resolveThreads } from '../threads.js';
import { bytesToRead, type PlannedTensor, tensorBytes } from './plan.js';
import type { Shard } from './shards.js';

export interface ExecuteOptions extends RunOptions {
  sink: MergeTable['sink'];
  /** One a shard, with the header that precedes the data; `offset` is where a comparison begins in the file. */
  outputs: { fd: number; prefix: Uint8Array; path: string; offset?: number }[];
  /** Hash the ingredients' files on the way, those for which that is possible (see `hashPrefixes`). */
  hashInputs?: boolean;
  /** With the sink `network`: where the results go. */
  network?: { handle: NetworkHandle; weights: Float64Array };
  /** Where the ingredients are read from, in place of their files; it stays open. */
  sources?: Sources;
  /** What progress calls this. */
  phase?: string;
  /** For tests: kernel variant and chunk size. */
  tuning?: { variant?: string; chunkBytes?: number };
}

/**
 * Runs a planned merge natively.
 * @throws StockpotError ABORTED, IO, NO_SPACE, CHANGED
 */
export async function execute(
  checkpoints: readonly Checkpoint[],
  shards: readonly Shard[],
  options: ExecuteOptions,
): Promise<MergeResult> {
  const tensors = shards.flatMap((s) => s.tensors);
  const device = chooseDevice(options.device);
  const sources = options.sources ?? (await OpenSources.open(checkpoints));
  // Tensors of one group share the array of their weights.
  const rows = [...new Set(tensors.map((t) => t.weights))];
  try {
    const table: MergeTable = {
      ...sources.table(tensors.flatMap((t) => t.places)),
      k: checkpoints.length,
      threads: resolveThreads(options.threads),
      memory: resolveMemory(options.memory),
      chunkBytes: options.tuning?.chunkBytes ?? 0,
      variant: options.tuning?.variant ?? '',
      sink: options.sink,
      weights: Float64Array.from(rows.flat()),
      outputs: options.outputs.map(({ fd, prefix, offset = 0 }) => ({ fd, prefix, offset })),
      hashPrefix: Float64Array.from(
        options.hashInputs
          ? hashPrefixes(checkpoints, tensors)
          : Array<number>(sources.fileCount).fill(-1),
      ),
      deviceLibrary: device?.library,
      deviceIndex: device?.index,
      network: options.network?.handle,
      networkWeights: options.network?.weights,
      op: Float64Array.from(tensors, (t) => OP[t.op]),
      outDtype: Float64Array.from(tensors, (t) => dtypeIndex(t.dtype)),
      elements: Float64Array.from(tensors, (t) => elementCount(t.shape)),
      output: Float64Array.from(shards.flatMap((s, i) => s.tensors.map(() => i))),
      weightSet: Float64Array.from(tensors, (t) =>
        t.op !== 'mean' || t.equal ? -1 : rows.indexOf(t.weights),
      ),
    };
    const result = await runJob(
      () => native().merge(table),
      {
        file: (i) => sources.path(i),
        tensor: (i) => tensors[i]?.name,
        output: (i) => options.outputs[i]?.path ?? '',
      },
      options,
      options.phase ?? 'merge',
      bytesToRead(tensors),
    );
    await sources.checkUnchanged();
    return result;
  } finally {
    if (!options.sources) await sources.close();
  }
}

/**
 * One a file of all checkpoints: the bytes before its first tensor if the plan reads the whole rest of the file from
 * front to back, so that its hash can be taken in the same pass, else -1. That is so for safetensors files whose tensors
 * all take part, are contiguous, and lie in the order of the output.
 */
function hashPrefixes(
  checkpoints: readonly Checkpoint[],
  tensors: readonly PlannedTensor[],
): number[] {
  return checkpoints.flatMap((c, i) =>
    c.files.map(({ size }, file) => {
      let prefix = -1;
      let at = -1;
      for (const { places } of tensors) {
        const entry = places[i]?.[1];
        if (entry?.file !== file || entry.shape.includes(0)) continue;
        if (at < 0) prefix = entry.offset;
        else if (entry.offset !== at) return -1;
        if (entry.strides) return -1;
        at = entry.offset + tensorBytes(entry);
      }
      return at === size ? prefix : -1;
    }),
  );
}

export interface Allowances {
  allowNonfinite?: boolean;
  allowOverflow?: boolean;
}

/**
 * Refuses what the pass found in the data (behaviours 2, 4 and 6), all of it at once; what is allowed is returned as
 * warnings.
 * @throws StockpotError NONFINITE, MISMATCH, OVERFLOW
 */
export function judge(
  findings: readonly Finding[],
  tensors: readonly PlannedTensor[],
  checkpoints: readonly Checkpoint[],
  allow: Allowances,
): string[] {
  const described = findings.map((f) => ({ finding: f, ...describe(f, tensors, checkpoints) }));
  const allowed = (f: Finding) =>
    (f.kind === 'nonfinite' && allow.allowNonfinite) ||
    (f.kind === 'overflow' && allow.allowOverflow);
  const refused = described.filter((d) => !allowed(d.finding));
  const first = refused[0];
  if (!first)
    return described.map(
      (d) => `${d.file === undefined ? '' : `${d.file}: `}tensor "${d.tensor}" ${d.message}`,
    );
  const details: Mismatch[] = refused.map(({ file, tensor, message }) => ({
    file,
    tensor,
    message,
  }));
  const more = refused.length > 1 ? ` (and ${refused.length - 1} more)` : '';
  const { code, remedy } = refusalOf(first.finding, tensors);
  throw new StockpotError(
    code,
    `${first.file === undefined ? '' : `${first.file}: `}tensor "${first.tensor}" ${first.message}${more}`,
    {
      file: first.file,
      tensor: first.tensor,
      details,
      remedy,
    },
  );
}

const REFUSALS = {
  nonfinite: {
    code: 'NONFINITE',
    remedy: 'Leave that ingredient out, or pass --allow-nonfinite to let it through.',
  },
  overflow: {
    code: 'OVERFLOW',
    remedy: 'Choose smaller --weights, or pass --allow-overflow to write infinity.',
  },
  unequal: {
    code: 'MISMATCH',
    remedy:
      "Integer tensors are never averaged. Leave it out with --exclude 'GLOB' if the model does not need it.",
  },
  differs: { code: 'VERIFY', remedy: undefined },
} as const;

/** The types that a wider one is there for. */
const NARROW: ReadonlySet<string> = new Set(['F16', 'F8_E4M3', 'F8_E5M2']);

function refusalOf({ kind, segment }: Finding, tensors: readonly PlannedTensor[]) {
  if (kind !== 'overflow' || !NARROW.has(tensors[segment]?.dtype ?? '')) return REFUSALS[kind];
  const remedy =
    'Choose a wider type with --dtype f32 or bf16, or pass --allow-overflow to write infinity.';
  return { code: REFUSALS.overflow.code, remedy };
}

const elements = (n: number, what: string): string => `${n} ${what}${n === 1 ? '' : 's'}`;

function describe(
  f: Finding,
  tensors: readonly PlannedTensor[],
  checkpoints: readonly Checkpoint[],
): Mismatch {
  const t = tensors[f.segment] as PlannedTensor;
  const place = f.input >= 0 ? t.places[f.input] : undefined;
  const file = place ? checkpoints[place[0]]?.files[place[1].file]?.path : undefined;
  const at = f.first >= 0 ? `, the first at index ${f.first}` : '';
  switch (f.kind) {
    case 'nonfinite':
      return {
        file,
        tensor: t.name,
        message: `holds ${elements(f.count, 'NaN or infinite value')}${at}`,
      };
    case 'overflow':
      return {
        tensor: t.name,
        message: `${f.count === 1 ? 'has 1 mean' : `has ${f.count} means`} too large for ${t.dtype}`,
      };
    case 'unequal': {
      const reference = t.places.find((p) => p !== null);
      const other = reference ? checkpoints[reference[0]]?.files[reference[1].file]?.path : '';
      return {
        file,
        tensor: t.name,
        message: `(${t.dtype}) differs from ${other} in ${elements(f.count, 'element')}${at}`,
      };
    }
    case 'differs':
      return { file, tensor: t.name, message: `differs in ${elements(f.count, 'element')}${at}` };
  }
}
