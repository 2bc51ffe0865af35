/** What is done to a byte, by channel. Null where a step is left out. */
export interface Normalisation {
  rescale: number | null;
  mean: readonly number[] | null;
  std: readonly number[] | null;
}

const f32 = Math.fround;

function tableOf(element: (byte: number, channel: number) => number): Float32Array {
  const table = new Float32Array(3 * 256);
  for (let c = 0; c < 3; c++)
    for (let byte = 0; byte < 256; byte++) table[c * 256 + byte] = element(byte, c);
  return table;
}

/**
 * As transformers computes it in float32: mean and deviation are scaled to bytes' range first, so that one subtraction
 * and one division are left (`TorchvisionBackend.rescale_and_normalize`).
 */
export function transformersTable({ rescale, mean, std }: Normalisation): Float32Array {
  if (!mean || !std) return tableOf((byte) => (rescale === null ? byte : byte * f32(rescale)));
  const scale = rescale === null ? 1 : f32(1 / rescale);
  const means = mean.map((m) => f32(f32(m) * scale));
  const stds = std.map((s) => f32(f32(s) * scale));
  return tableOf((byte, c) => f32(byte - (means[c] as number)) / (stds[c] as number));
}

/** As torchvision's ToTensor and Normalize compute it, which timm and open_clip use. */
export function torchvisionTable(mean: readonly number[], std: readonly number[]): Float32Array {
  return tableOf(
    (byte, c) => f32(f32(byte / 255) - f32(mean[c] as number)) / f32(std[c] as number),
  );
}
