import { inflateSync } from 'node:zlib';

export interface Picture {
  width: number;
  height: number;
  channels: number;
  /** Row by row, the channels of a pixel together. */
  pixels: Uint8Array;
}

/** Reads a PNG of 8 bits a channel, grey or RGB, not interlaced: enough for the test data. */
export function decodePng(file: Buffer): Picture {
  let at = 8;
  const data: Buffer[] = [];
  let header: Buffer | undefined;
  while (at < file.length) {
    const length = file.readUInt32BE(at);
    const type = file.toString('latin1', at + 4, at + 8);
    const body = file.subarray(at + 8, at + 8 + length);
    if (type === 'IHDR') header = body;
    if (type === 'IDAT') data.push(body);
    at += 12 + length;
  }
  if (!header) throw new Error('no PNG');
  const width = header.readUInt32BE(0);
  const height = header.readUInt32BE(4);
  const channels = { 0: 1, 2: 3 }[header.readUInt8(9)];
  if (header.readUInt8(8) !== 8 || channels === undefined || header.readUInt8(12) !== 0) {
    throw new Error('a PNG of another kind');
  }
  const raw = inflateSync(Buffer.concat(data));
  const stride = width * channels;
  const pixels = new Uint8Array(height * stride);
  for (let y = 0; y < height; y++) {
    const filter = raw.readUInt8(y * (stride + 1));
    for (let i = 0; i < stride; i++) {
      const left = i < channels ? 0 : (pixels[y * stride + i - channels] as number);
      const up = y === 0 ? 0 : (pixels[(y - 1) * stride + i] as number);
      const corner =
        y === 0 || i < channels ? 0 : (pixels[(y - 1) * stride + i - channels] as number);
      const guess = [0, left, up, (left + up) >> 1, paeth(left, up, corner)][filter] as number;
      pixels[y * stride + i] = raw.readUInt8(y * (stride + 1) + 1 + i) + guess;
    }
  }
  return { width, height, channels, pixels };
}

/** Whichever of the three neighbours is nearest to left + up - corner. */
function paeth(left: number, up: number, corner: number): number {
  const estimate = left + up - corner;
  const [a, b, c] = [left, up, corner].map((n) => Math.abs(estimate - n)) as [
    number,
    number,
    number,
  ];
  if (a <= b && a <= c) return left;
  return b <= c ? up : corner;
}
