import type { Sharp } from 'sharp';
import { StockpotError } from '../errors.js';
import { MOST_PIXELS } from './preparation.js';
import type { RgbImage } from './resample.js';

/** What is done to a decoded image before it is scaled. */
export interface DecodeOptions {
  /** Turn it as its EXIF tag says. */
  orient: boolean;
  /** Lay transparent images on white; else what a transparent pixel's colour is counts, as Pillow's convert('RGB') has it. */
  onWhite: boolean;
}

type SharpModule = typeof import('sharp').default;
let loaded: Promise<SharpModule> | undefined;

/** sharp is loaded when the first image needs it. @throws StockpotError NATIVE */
export function sharp(): Promise<SharpModule> {
  loaded ??= import('sharp').then(
    (m) => m.default,
    (cause) => {
      loaded = undefined;
      throw new StockpotError(
        'NATIVE',
        `the image library sharp does not load: ${String(cause?.message).split('\n')[0]}`,
        { cause, remedy: 'Install the package with its optional dependencies: npm install sharp.' },
      );
    },
  );
  return loaded;
}

/** Decoders that untrusted bytes may reach; by their first bytes, whatever the file is called. */
function isImage(bytes: Buffer): boolean {
  const hex = bytes.toString('hex', 0, 4);
  const text = bytes.toString('latin1', 0, 12);
  return (
    hex.startsWith('ffd8ff') || // JPEG
    hex === '89504e47' || // PNG
    hex === '49492a00' || // TIFF
    hex === '4d4d002a' ||
    text.startsWith('GIF8') ||
    (text.startsWith('RIFF') && text.endsWith('WEBP')) ||
    text.slice(4) === 'ftypavif'
  );
}

/**
 * Decodes an image to RGB bytes as Pillow does: colour profiles are not applied, grey is repeated, CMYK is converted by
 * its plain formula, 16-bit samples keep their upper byte. Truncated and damaged images are refused.
 * @throws Error that says what is wrong, without the file's name
 */
export async function decodeImage(bytes: Buffer, options: DecodeOptions): Promise<RgbImage> {
  if (bytes.length === 0) throw new Error('the file is empty');
  if (!isImage(bytes)) throw new Error(`it is no image that is read: ${seenIn(bytes)}`);
  const open = await sharp();
  const image = open(bytes, {
    failOn: 'error',
    ignoreIcc: true,
    sequentialRead: true,
    limitInputPixels: MOST_PIXELS,
  });
  const { space, width, height } = await image.metadata();
  const work = () => decode(image, space, options);
  return width * height > LARGE ? inTurn(work) : work();
}

/** Pixels of an image that is decoded by itself, as several of the largest would take gigabytes. */
const LARGE = 2 ** 24;

let last: Promise<unknown> = Promise.resolve();

/** Runs one piece of work after the other. */
function inTurn<T>(work: () => Promise<T>): Promise<T> {
  const mine = last.then(work);
  last = mine.catch(() => {});
  return mine;
}

async function decode(
  opened: Sharp,
  space: string | undefined,
  options: DecodeOptions,
): Promise<RgbImage> {
  let image = opened;
  if (options.orient) image = image.autoOrient();
  image =
    space === 'cmyk'
      ? image.pipelineColourspace('cmyk').toColourspace('cmyk')
      : image.toColourspace('srgb');
  const { data, info } = await image.raw({ depth: 'uchar' }).toBuffer({ resolveWithObject: true });
  const { width, height, channels } = info;
  const rgb = toRgb(data, channels, space === 'cmyk' ? fromCmyk : options.onWhite ? onWhite : drop);
  return { data: rgb, width, height };
}

const seenIn = (bytes: Buffer): string =>
  bytes.toString('latin1', 0, 40).startsWith('version https://git-lfs')
    ? 'it is a Git LFS pointer (run git lfs pull)'
    : `it begins with ${bytes.toString('hex', 0, 8)}`;

/** Makes a colour of four samples. */
type Convert = (sample: number, fourth: number) => number;

function toRgb(data: Buffer, channels: number, convert: Convert): Uint8Array {
  if (channels === 3) return data;
  const n = data.length / channels;
  const out = new Uint8Array(n * 3);
  for (let i = 0, from = 0, to = 0; i < n; i++, from += channels, to += 3) {
    const fourth = channels === 4 ? (data[from + 3] as number) : 255;
    for (let c = 0; c < 3; c++)
      out[to + c] = convert(data[from + (channels < 3 ? 0 : c)] as number, fourth);
  }
  return out;
}

const drop: Convert = (sample) => sample;

/** x / 255 rounded, for x up to 255². */
const by255 = (x: number): number => {
  const t = x + 128;
  return ((t >> 8) + t) >> 8;
};

/** Pillow's alpha_composite over an opaque white image. */
const onWhite: Convert = (sample, alpha) => by255(sample * alpha + 255 * (255 - alpha));

/** Pillow's cmyk2rgb (`src/libImaging/Convert.c`). */
const fromCmyk: Convert = (sample, black) => {
  const light = 255 - black;
  return Math.max(0, light - by255(sample * light));
};
