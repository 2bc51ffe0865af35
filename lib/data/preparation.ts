import type { Filter } from './filters.js';
import type { Placement } from './resample.js';

/** Pixels of an image beyond which Pillow takes it for a decompression bomb. */
export const MOST_PIXELS = 178_956_970;

/** The size an image is scaled to before the window is cut out of its middle. */
export type Resize =
  /** To this size, whatever its shape. */
  | { mode: 'exact'; width: number; height: number }
  /** The shorter edge to this length, the longer one in proportion, rounded down (torchvision's Resize). */
  | { mode: 'shortest'; edge: number }
  /** Both edges in proportion, so that the image just covers the size, or just fits into it (timm's ResizeKeepRatio). */
  | { mode: 'cover' | 'fit'; width: number; height: number };

/** How an image becomes what a network takes: decoded, scaled, cut out of the middle, normalised. */
export interface Preparation {
  /** File that says so. */
  file: string;
  /** Of the network's input. */
  width: number;
  height: number;
  resize: Resize | null;
  /** Neither scaled nor cropped: images of another size are refused. */
  asIs: boolean;
  filter: Filter;
  /** How half a pixel of the window's offset is rounded. */
  halves: 'down' | 'even';
  /** Colour beside images that are smaller than the window. */
  fill: readonly number[];
  /** Turn images as their EXIF tag says. */
  orient: boolean;
  /** Lay transparent images on white. */
  onWhite: boolean;
  /** Element of the input for each channel and byte: float32 [3, 256], computed as the library does. */
  table: Float32Array;
}

/** Python's round: halves go to the even neighbour. */
export const roundEven = (x: number): number => {
  const down = Math.floor(x);
  const rest = x - down;
  if (rest !== 0.5) return Math.round(x);
  return down % 2 === 0 ? down : down + 1;
};

function scaledSize(resize: Resize | null, width: number, height: number): [number, number] {
  if (resize === null) return [width, height];
  if (resize.mode === 'exact') return [resize.width, resize.height];
  if (resize.mode === 'shortest') {
    const { edge } = resize;
    return width <= height
      ? [edge, Math.floor((edge * height) / width)]
      : [Math.floor((edge * width) / height), edge];
  }
  const across = width / resize.width;
  const down = height / resize.height;
  const ratio = resize.mode === 'fit' ? Math.max(across, down) : Math.min(across, down);
  return [Math.max(1, roundEven(width / ratio)), Math.max(1, roundEven(height / ratio))];
}

/** Offset of a window in the middle of an edge; negative where the window is longer (transformers and torchvision agree). */
function offset(edge: number, window: number, halves: Preparation['halves']): number {
  if (window > edge) return 0 - Math.floor((window - edge) / 2);
  const half = (edge - window) / 2;
  return halves === 'even' ? roundEven(half) : Math.floor(half);
}

/** Where an image of this size goes. @throws Error where it fits nowhere */
export function place(p: Preparation, width: number, height: number): Placement {
  // Between the two passes of scaling, an image has its own height and the window's width.
  if (height * p.width > MOST_PIXELS)
    throw new Error(`it is ${width} × ${height}, which is too tall to be scaled`);
  if (p.asIs && (width !== p.width || height !== p.height)) {
    throw new Error(
      `it is ${width} × ${height}, expected ${p.width} × ${p.height}, as images are not scaled (do_resize)`,
    );
  }
  const [w, h] = scaledSize(p.resize, width, height);
  return {
    width: w,
    height: h,
    left: offset(w, p.width, p.halves),
    top: offset(h, p.height, p.halves),
  };
}
