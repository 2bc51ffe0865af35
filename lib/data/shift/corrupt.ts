import { type RgbImage, resample } from '../resample.js';
import { disk, filtered, type Kernel } from './defocus.js';
import { type Kind, STRENGTHS, type Strengths } from './parameters.js';
import { Normal } from './random.js';

/** A corruption of one strength; `jpeg` is done by the encoder. */
export interface Corruption {
  kind: Kind;
  /** 1 to 5. */
  severity: number;
  strengths: Strengths;
}

/** A sample of 0 to 1 as the byte that numpy's uint8 makes of it: clipped, and cut. */
const toByte = (x: number): number => Math.floor(Math.min(1, Math.max(0, x)) * 255);

const mapped = ({ data, width, height }: RgbImage, of: (i: number) => number): RgbImage => ({
  data: Uint8Array.from(data, (_, i) => toByte(of(i))),
  width,
  height,
});

/**
 * An image corrupted as ImageNet-C's (or CIFAR-10-C's) code does it, in float64 and cut to bytes.
 * @param seed what the noise follows from
 */
export async function corrupt(
  image: RgbImage,
  { kind, severity, strengths }: Corruption,
  seed: string,
): Promise<RgbImage> {
  const table = STRENGTHS[strengths];
  const at = severity - 1;
  switch (kind) {
    case 'gaussian_noise':
      return noise(image, table.gaussian_noise[at] as number, seed);
    case 'defocus_blur':
      return blur(image, ...(table.defocus_blur[at] as [number, number]));
    case 'contrast':
      return contrast(image, table.contrast[at] as number);
    case 'brightness':
      return brightness(image, table.brightness[at] as number);
    case 'pixelate':
      return pixelate(image, table.pixelate[at] as number);
    case 'jpeg':
      return image;
  }
}

function noise(image: RgbImage, deviation: number, seed: string): RgbImage {
  const normal = new Normal(seed);
  return mapped(image, (i) => (image.data[i] as number) / 255 + deviation * normal.next());
}

const kernels = new Map<string, Kernel>();

async function blur(image: RgbImage, radius: number, deviation: number): Promise<RgbImage> {
  const name = `${radius} ${deviation}`;
  const kernel = kernels.get(name) ?? disk(radius, deviation);
  kernels.set(name, kernel);
  const sums = await filtered(image, kernel);
  // A flat area stays what it is: 1e-9 is far above the rounding of the sums, and far below a level.
  return mapped(image, (i) => ((sums[i] as number) + 1e-9) / 255);
}

/** Towards each channel's mean. */
function contrast(image: RgbImage, factor: number): RgbImage {
  const { data } = image;
  const means = [0, 1, 2].map((c) => {
    let sum = 0;
    for (let i = c; i < data.length; i += 3) sum += (data[i] as number) / 255;
    return sum / (data.length / 3);
  });
  return mapped(image, (i) => {
    const mean = means[i % 3] as number;
    return ((data[i] as number) / 255 - mean) * factor + mean;
  });
}

/** Hue and saturation kept, the value raised: all channels grow by the same factor; black becomes grey. */
function brightness(image: RgbImage, more: number): RgbImage {
  const { data } = image;
  return mapped(image, (i) => {
    const pixel = i - (i % 3);
    const value = Math.max(
      data[pixel] as number,
      data[pixel + 1] as number,
      data[pixel + 2] as number,
    );
    const raised = Math.min(1, value / 255 + more);
    return data[i] === value ? raised : raised * ((data[i] as number) / value);
  });
}

/** Fewer pixels, and back again, by Pillow's box filter. */
async function pixelate(image: RgbImage, factor: number): Promise<RgbImage> {
  const { width, height } = image;
  const small = {
    width: Math.max(1, Math.floor(width * factor)),
    height: Math.max(1, Math.floor(height * factor)),
  };
  return boxed(await boxed(image, small), { width, height });
}

async function boxed(image: RgbImage, size: { width: number; height: number }): Promise<RgbImage> {
  const planes = await resample(image, { ...size, left: 0, top: 0 }, 'box', {
    ...size,
    fill: [0, 0, 0],
  });
  const plane = size.width * size.height;
  const data = new Uint8Array(planes.length);
  for (let i = 0; i < plane; i++)
    for (let c = 0; c < 3; c++) data[3 * i + c] = planes[c * plane + i] as number;
  return { data, ...size };
}
