import type { FileHandle } from 'node:fs/promises';
import { AtomicOutput } from '../checkpoint/output.js';
import { safetensorsHeader } from '../checkpoint/safetensors.js';
import type { Checkpoint } from '../checkpoint/types.js';
import { StockpotError } from '../errors.js';
import { type EvaluationOptions, Session } from './session.js';

export interface PredictOptions extends EvaluationOptions {
  overwrite?: boolean;
}

export interface Prediction {
  model: string;
  output: string;
  n: number;
  classes: number;
  notes: string[];
}

/**
 * Writes a model's logits on a data set: a safetensors file with `logits` (f32 [n, classes]) and `labels` (i64 [n]), in
 * the data set's order.
 * @param output a name ending in .safetensors
 * @throws StockpotError
 */
export async function predict(
  model: string | Checkpoint,
  output: string,
  options: PredictOptions,
): Promise<Prediction> {
  if (!output.endsWith('.safetensors')) {
    throw new StockpotError(
      'USAGE',
      `${output}: expected the output's name to end in .safetensors`,
    );
  }
  const session = await Session.open([model], options);
  try {
    const { checkpoints, data, network } = session;
    const first = checkpoints[0] as Checkpoint;
    const inputs = [first.path, ...first.files.map((f) => f.path)];
    const target = await AtomicOutput.begin(output, { overwrite: options.overwrite, inputs });
    try {
      await session.load([0]);
      const logits = await session.logits(undefined, { onProgress: options.onProgress });
      const shape = [data.count, network.numClasses];
      const header = safetensorsHeader(
        [
          { name: 'labels', dtype: 'I64', shape: [data.count] },
          { name: 'logits', dtype: 'F32', shape },
        ],
        {},
      );
      const handle: FileHandle = await target.create('');
      await handle.writeFile(header);
      await handle.writeFile(new Uint8Array(BigInt64Array.from(data.labels, BigInt).buffer));
      await handle.writeFile(new Uint8Array(logits.buffer));
      await handle.sync();
      await target.commit();
    } finally {
      await target.abandon();
    }
    return {
      model: first.path,
      output,
      n: data.count,
      classes: network.numClasses,
      notes: [...session.notes],
    };
  } finally {
    await session.close();
  }
}
