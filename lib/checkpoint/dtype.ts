/**
 * Element types, by safetensors' names. The position in this list is the number that the addon uses
 * for the type (native/kernels/dtype.h has the same list).
 */
export const DTYPES = [
  'F64',
  'F32',
  'F16',
  'BF16',
  'F8_E4M3',
  'F8_E5M2',
  'I64',
  'I32',
  'I16',
  'I8',
  'U64',
  'U32',
  'U16',
  'U8',
  'BOOL',
] as const;

/** The type of a tensor's elements, as safetensors names it. */
export type DType = (typeof DTYPES)[number];

const BYTES: Record<DType, number> = {
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

/** Bytes of one element. */
export const byteSize = (dtype: DType): number => BYTES[dtype];

export const isDType = (name: string): name is DType => Object.hasOwn(BYTES, name);

/** Floating-point types are averaged; the others are copied or refused. */
export const isFloat = (dtype: DType): boolean => dtype.startsWith('F') || dtype === 'BF16';

/** The number that stands for `dtype` in the addon's tables. */
export const dtypeIndex = (dtype: DType): number => DTYPES.indexOf(dtype);
