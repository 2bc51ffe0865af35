/** The corruptions that are made. */
export const KINDS = [
  'gaussian_noise',
  'defocus_blur',
  'contrast',
  'brightness',
  'jpeg',
  'pixelate',
] as const;

/** A corruption of images. */
export type Kind = (typeof KINDS)[number];

/** Whose strengths are used: those of ImageNet-C, or those of CIFAR-10-C, which are for small images. */
export type Strengths = 'imagenet' | 'cifar';

/** What the strength of each kind means, for severities 1 to 5. */
interface Table {
  /** Deviation of the noise; a byte's range is 1. */
  gaussian_noise: readonly number[];
  /** Radius of the disk in pixels, and deviation of the blur that smooths its edge. */
  defocus_blur: readonly (readonly [number, number])[];
  /** Factor of the distance from the channel's mean. */
  contrast: readonly number[];
  /** What is added to the value of hue, saturation and value. */
  brightness: readonly number[];
  /** Quality. */
  jpeg: readonly number[];
  /** Factor of the width and height. */
  pixelate: readonly number[];
}

/**
 * Hendrycks and Dietterich 2019, "Benchmarking Neural Network Robustness to Common Corruptions and Perturbations": the
 * values of the authors' code (hendrycks/robustness, `imagenet_c/corruptions.py` and `create_c/make_cifar_c.py`).
 */
export const STRENGTHS: Readonly<Record<Strengths, Table>> = {
  imagenet: {
    gaussian_noise: [0.08, 0.12, 0.18, 0.26, 0.38],
    defocus_blur: [
      [3, 0.1],
      [4, 0.5],
      [6, 0.5],
      [8, 0.5],
      [10, 0.5],
    ],
    contrast: [0.4, 0.3, 0.2, 0.1, 0.05],
    brightness: [0.1, 0.2, 0.3, 0.4, 0.5],
    jpeg: [25, 18, 15, 10, 7],
    pixelate: [0.6, 0.5, 0.4, 0.3, 0.25],
  },
  cifar: {
    gaussian_noise: [0.04, 0.06, 0.08, 0.09, 0.1],
    defocus_blur: [
      [0.3, 0.4],
      [0.4, 0.5],
      [0.5, 0.6],
      [1, 0.2],
      [1.5, 0.1],
    ],
    contrast: [0.75, 0.5, 0.4, 0.3, 0.15],
    brightness: [0.05, 0.1, 0.15, 0.2, 0.3],
    jpeg: [80, 65, 58, 50, 40],
    pixelate: [0.95, 0.9, 0.85, 0.75, 0.65],
  },
};

/** Images whose shorter edge is below this are small. */
const SMALL = 64;

export const strengthsFor = (width: number, height: number): Strengths =>
  Math.min(width, height) < SMALL ? 'cifar' : 'imagenet';
