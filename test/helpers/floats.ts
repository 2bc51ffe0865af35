import type { DType } from '../../lib/checkpoint/dtype.js';

/** Exponent of the smallest normal number, bits of the mantissa, exponent of the largest number. */
const FORMATS = {
  F16: { low: -14, bits: 10, high: 15 },
  BF16: { low: -126, bits: 7, high: 127 },
} as const;

const exponentOf = (x: number): number => {
  const view = new DataView(new ArrayBuffer(8));
  view.setFloat64(0, x);
  return ((view.getUint16(0) >> 4) & 0x7ff) - 1023;
};

/** Nearest whole number, ties to even; for |x| < 2^52. */
const roundEven = (x: number): number => {
  const down = Math.floor(x);
  const rest = x - down;
  if (rest !== 0.5) return rest < 0.5 ? down : down + 1;
  return down % 2 === 0 ? down : down + 1;
};

/** Rounds a double to 16 bits once, to nearest even: written down from the formats' definition. */
function to16(x: number, format: keyof typeof FORMATS): number {
  const { low, bits, high } = FORMATS[format];
  const sign = x < 0 || Object.is(x, -0) ? 0x8000 : 0;
  const infinity = ((high - low + 2) << bits) | 0;
  if (Number.isNaN(x)) return infinity | (1 << (bits - 1));
  const a = Math.abs(x);
  if (a === Number.POSITIVE_INFINITY) return sign | infinity;
  const e = Math.max(exponentOf(a), low);
  const units = roundEven(a / 2 ** (e - bits));
  // Units of a normal number have the hidden bit, which adds 1 to the exponent's field; a carry adds 1 more.
  const code = ((e - low) << bits) + units;
  return sign | Math.min(code, infinity);
}

function from16(code: number, format: keyof typeof FORMATS): number {
  const { low, bits, high } = FORMATS[format];
  const sign = code & 0x8000 ? -1 : 1;
  const field = (code & 0x7fff) >> bits;
  const mantissa = code & ((1 << bits) - 1);
  if (field === high - low + 2) return mantissa ? Number.NaN : sign * Number.POSITIVE_INFINITY;
  if (field === 0) return sign * mantissa * 2 ** (low - bits);
  return sign * (mantissa + 2 ** bits) * 2 ** (field - 1 + low - bits);
}

function fromE4M3(code: number): number {
  const sign = code & 0x80 ? -1 : 1;
  const field = (code >> 3) & 15;
  const mantissa = code & 7;
  if (field === 15 && mantissa === 7) return Number.NaN;
  return field === 0 ? sign * mantissa * 2 ** -9 : sign * (8 + mantissa) * 2 ** (field - 10);
}

const SIZE: Record<DType, number> = {
  F64: 8,
  F32: 4,
  F16: 2,
  BF16: 2,
  F8_E4M3: 1,
  F8_E5M2: 1,
  I64: 8,
  I32: 4,
  I16: 2,
  I8: 1,
  U64: 8,
  U32: 4,
  U16: 2,
  U8: 1,
  BOOL: 1,
};

export const bytesOf = (dtype: DType): number => SIZE[dtype];

function writeOne(out: Buffer, at: number, dtype: DType, x: number): void {
  const size = SIZE[dtype];
  if (dtype === 'F64') out.writeDoubleLE(x, at);
  else if (dtype === 'F32') out.writeFloatLE(x, at);
  else if (dtype === 'F16' || dtype === 'BF16') out.writeUInt16LE(to16(x, dtype), at);
  else if (dtype.startsWith('F8')) {
    const codes = Array.from({ length: 256 }, (_, c) => c);
    const code = codes.find((c) => Object.is(decode(dtype, Buffer.of(c))[0], x));
    if (code === undefined) throw new Error(`${x} is no value of ${dtype}`);
    out.writeUInt8(code, at);
  } else if (dtype === 'I64') out.writeBigInt64LE(BigInt(x), at);
  else if (dtype === 'U64') out.writeBigUInt64LE(BigInt(x), at);
  else if (dtype.startsWith('I')) out.writeIntLE(x, at, size);
  else out.writeUIntLE(x, at, size);
}

/** Elements as a file holds them; floating-point numbers are rounded to nearest even, once. */
export function encode(dtype: DType, values: readonly number[]): Buffer {
  const out = Buffer.alloc(values.length * SIZE[dtype]);
  for (const [i, x] of values.entries()) writeOne(out, i * SIZE[dtype], dtype, x);
  return out;
}

/** The numbers that a file's elements stand for. */
export function decode(dtype: DType, bytes: Buffer): number[] {
  const size = SIZE[dtype];
  return Array.from({ length: bytes.length / size }, (_, i) => {
    const at = i * size;
    switch (dtype) {
      case 'F64':
        return bytes.readDoubleLE(at);
      case 'F32':
        return bytes.readFloatLE(at);
      case 'F16':
      case 'BF16':
        return from16(bytes.readUInt16LE(at), dtype);
      case 'F8_E4M3':
        return fromE4M3(bytes.readUInt8(at));
      case 'F8_E5M2':
        return from16(bytes.readUInt8(at) << 8, 'F16');
      case 'I64':
        return Number(bytes.readBigInt64LE(at));
      case 'U64':
        return Number(bytes.readBigUInt64LE(at));
      default:
        return dtype.startsWith('I') ? bytes.readIntLE(at, size) : bytes.readUIntLE(at, size);
    }
  });
}
