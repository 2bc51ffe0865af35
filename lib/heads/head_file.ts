import { AtomicOutput } from '../checkpoint/output.js';
import { safetensorsHeader } from '../checkpoint/safetensors.js';

/** A linear classifier on features, in the layout of the model-soups code (`classification_head`). */
export interface Head {
  /** [classes, width], row-major. */
  weight: Float32Array;
  bias: Float32Array;
  classNames?: readonly string[];
}

/**
 * Writes a head: `classification_head.weight` and `.bias`, float32.
 * @param output a name ending in .safetensors, or a folder
 * @throws StockpotError OUTPUT, IO, NO_SPACE
 */
export async function writeHead(
  { weight, bias, classNames }: Head,
  output: string,
  options: { overwrite?: boolean; inputs: readonly string[] },
): Promise<void> {
  const target = await AtomicOutput.begin(output, options);
  try {
    const classes = bias.length;
    const header = safetensorsHeader(
      [
        {
          name: 'classification_head.weight',
          dtype: 'F32',
          shape: [classes, weight.length / classes],
        },
        { name: 'classification_head.bias', dtype: 'F32', shape: [classes] },
      ],
      { format: 'pt', ...(classNames && { classes: JSON.stringify(classNames) }) },
    );
    await target.writeParts('model.safetensors', [header, bytesOf(weight), bytesOf(bias)]);
    await target.commit();
  } finally {
    await target.abandon();
  }
}

const bytesOf = (x: Float32Array): Uint8Array =>
  new Uint8Array(x.buffer, x.byteOffset, x.byteLength);
