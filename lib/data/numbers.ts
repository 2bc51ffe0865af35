import type { DType } from '../checkpoint/dtype.js';

/** Little-endian elements as float32; a sentence where the type is none that inputs are stored in. */
export function toFloat32(dtype: DType, bytes: Uint8Array): Float32Array | string {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  switch (dtype) {
    case 'F32':
      return Float32Array.from({ length: bytes.length / 4 }, (_, i) =>
        view.getFloat32(4 * i, true),
      );
    case 'F64':
      return Float32Array.from({ length: bytes.length / 8 }, (_, i) =>
        view.getFloat64(8 * i, true),
      );
    case 'BF16': {
      const out = new Float32Array(bytes.length / 2);
      const bits = new Uint32Array(out.buffer);
      for (let i = 0; i < out.length; i++) bits[i] = view.getUint16(2 * i, true) << 16;
      return out;
    }
    case 'F16':
      return Float32Array.from({ length: bytes.length / 2 }, (_, i) =>
        half(view.getUint16(2 * i, true)),
      );
    default:
      return `${dtype} is no type for inputs: save it as F32, F16 or BF16`;
  }
}

function half(code: number): number {
  const sign = code & 0x8000 ? -1 : 1;
  const exponent = (code >> 10) & 31;
  const mantissa = code & 1023;
  if (exponent === 31) return mantissa ? Number.NaN : sign * Number.POSITIVE_INFINITY;
  return exponent === 0
    ? sign * mantissa * 2 ** -24
    : sign * (1024 + mantissa) * 2 ** (exponent - 25);
}

/** Little-endian integers as int32; a sentence where one does not fit. */
export function toInt32(dtype: DType, bytes: Uint8Array): Int32Array | string {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const readers: Partial<Record<DType, [number, (at: number) => number | bigint]>> = {
    I64: [8, (at) => view.getBigInt64(at, true)],
    U64: [8, (at) => view.getBigUint64(at, true)],
    I32: [4, (at) => view.getInt32(at, true)],
    U32: [4, (at) => view.getUint32(at, true)],
    I16: [2, (at) => view.getInt16(at, true)],
    U16: [2, (at) => view.getUint16(at, true)],
    I8: [1, (at) => view.getInt8(at)],
    U8: [1, (at) => view.getUint8(at)],
    BOOL: [1, (at) => view.getUint8(at)],
  };
  const reader = readers[dtype];
  if (!reader) return `expected integers but found ${dtype}`;
  const [size, read] = reader;
  const out = new Int32Array(bytes.length / size);
  for (let i = 0; i < out.length; i++) {
    const value = read(i * size);
    const number = Number(value);
    if ((number | 0) !== number) return `element ${i} is ${value}, which does not fit in 32 bits`;
    out[i] = number;
  }
  return out;
}
