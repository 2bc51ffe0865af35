import { join } from 'node:path';
import { StockpotError } from '../errors.js';
import { readSmallFileIfThere } from './small_file.js';
import type { Checkpoint } from './types.js';

/** Tensors that only quantised checkpoints have, by the library that makes them. */
const SIGNS: [RegExp, string][] = [
  [/\.(qweight|qzeros|g_idx)$/, 'GPTQ or AWQ'],
  [/\.(absmax|quant_map|nested_absmax|nested_quant_map|quant_state\..+)$/, 'bitsandbytes 4-bit'],
  [/\.(SCB|weight_format)$/, 'bitsandbytes 8-bit'],
  [/\.(weight_packed|weight_shape)$/, 'compressed-tensors'],
];
const FP8_SCALE =
  /(^|[._])(weight_scale|weight_scale_inv|input_scale|scale_inv|scale_weight|scale_input)$/;

/**
 * Refuses a quantised checkpoint: the mean of quantised codes means nothing. Plain fp8 tensors (no scales) are values
 * and pass.
 * @param folder where config.json lies, if the checkpoint is a folder
 * @throws StockpotError UNSUPPORTED; IO where config.json is there and cannot be read
 */
export async function refuseQuantised(checkpoint: Checkpoint, folder?: string): Promise<void> {
  const refuse = (what: string, tensor?: string) =>
    new StockpotError(
      'UNSUPPORTED',
      `${checkpoint.path}: is quantised (${what}${tensor ? `, tensor "${tensor}"` : ''}); codes cannot be averaged`,
      {
        file: checkpoint.path,
        tensor,
        remedy:
          'Average the unquantised checkpoints (or dequantise them first), then quantise the soup.',
      },
    );
  let fp8 = false;
  for (const { dtype } of checkpoint.tensors.values()) fp8 = fp8 || dtype.startsWith('F8');
  for (const name of checkpoint.tensors.keys()) {
    const sign = SIGNS.find(([pattern]) => pattern.test(name));
    if (sign) throw refuse(sign[1], name);
    if (fp8 && FP8_SCALE.test(name)) throw refuse('fp8 with scales', name);
  }
  if (folder === undefined) return;
  const config = (await readSmallFileIfThere(join(folder, 'config.json'))) ?? '';
  if (/"quantization_config"\s*:\s*\{/.test(config))
    throw refuse('config.json has a quantization_config');
}
