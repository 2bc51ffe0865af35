import { AtomicOutput } from '../checkpoint/output.js';
import { safetensorsHeader } from '../checkpoint/safetensors.js';
import type { Checkpoint } from '../checkpoint/types.js';
import { StockpotError } from '../errors.js';
import type { RunOptions } from '../progress.js';
import { makeCandidate } from './candidate.js';
import { askEvaluator, type WholeEvaluator } from './evaluator.js';
import { type EvaluationOptions, Session } from './session.js';

export interface PredictOptions extends EvaluationOptions {
  overwrite?: boolean;
}

/** Where the logits [n, classes] were written. */
export interface Prediction {
  model: string;
  output: string;
  /** Examples: the file's logits are float32 [n, classes], its labels int64 [n]. */
  n: number;
  classes: number;
  notes: string[];
}

/**
 * Writes a model's logits on a data set: a safetensors file with `logits` (f32 [n, classes]) and `labels` (i64 [n]), in
 * the data set's order.
 * @param output a name ending in .safetensors
 * @throws StockpotError NOT_FOUND, IO, FORMAT, UNSUPPORTED for what cannot be read; MISMATCH where model and data do not fit
 *   together; NONFINITE, OVERFLOW, CHANGED; MEMORY, DEVICE, NATIVE; USAGE; ABORTED
 */
export async function predict(
  model: string | Checkpoint,
  output: string,
  options: PredictOptions,
): Promise<Prediction> {
  checkName(output);
  const session = await Session.open([model], options);
  try {
    const { checkpoints, data, notes } = session;
    const first = checkpoints[0] as Checkpoint;
    const logits = async () => {
      await session.load([0]);
      return session.logits(undefined, { onProgress: options.onProgress });
    };
    return await writeLogits(first, output, options.overwrite, logits, data.labels, notes);
  } finally {
    await session.close();
  }
}

/**
 * The same by a program or a function that gives logits.
 * @param evaluator with the labels of the data
 * @throws StockpotError EVALUATOR where it gives none, or not as many rows as there are labels
 */
export async function predictWith(
  model: Checkpoint,
  output: string,
  evaluator: WholeEvaluator,
  options: RunOptions & { overwrite?: boolean },
): Promise<Prediction> {
  checkName(output);
  const { labels } = evaluator;
  if (!labels) {
    throw new StockpotError('USAGE', 'expected --data DATA, whose labels belong to the logits');
  }
  const logits = async () => {
    const soup = makeCandidate('uniform', [model], [1], options);
    const given = await askEvaluator(evaluator, soup, { beta: 1, signal: options.signal });
    const rows = typeof given === 'object' ? given?.logits : undefined;
    if (!rows) throw new StockpotError('EVALUATOR', 'the evaluator gave no logits');
    const flat = rows instanceof Float32Array ? rows : Float32Array.from(rows.flat());
    if (flat.length > 0 && flat.length % labels.length === 0) return flat;
    throw new StockpotError(
      'EVALUATOR',
      `expected logits of ${labels.length} examples but received ${flat.length} numbers`,
    );
  };
  return writeLogits(model, output, options.overwrite, logits, labels, []);
}

function checkName(output: string): void {
  if (output.endsWith('.safetensors')) return;
  throw new StockpotError('USAGE', `${output}: expected the output's name to end in .safetensors`);
}

async function writeLogits(
  model: Checkpoint,
  output: string,
  overwrite: boolean | undefined,
  evaluate: () => Promise<Float32Array>,
  labels: Int32Array,
  notes: readonly string[],
): Promise<Prediction> {
  const inputs = [model.path, ...model.files.map((f) => f.path)];
  const target = await AtomicOutput.begin(output, { overwrite, inputs });
  try {
    const logits = await evaluate();
    const n = labels.length;
    const classes = logits.length / n;
    const header = safetensorsHeader(
      [
        { name: 'labels', dtype: 'I64', shape: [n] },
        { name: 'logits', dtype: 'F32', shape: [n, classes] },
      ],
      {},
    );
    await target.writeParts('', [
      header,
      new Uint8Array(BigInt64Array.from(labels, BigInt).buffer),
      new Uint8Array(logits.buffer, logits.byteOffset, logits.byteLength),
    ]);
    await target.commit();
    return { model: model.path, output, n, classes, notes: [...notes] };
  } finally {
    await target.abandon();
  }
}
