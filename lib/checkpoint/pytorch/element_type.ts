import type { DType } from '../dtype.js';

/** A torch dtype. */
export class ElementType {
  constructor(
    /** As torch prints it, without `torch.`. */
    readonly name: string,
    /** Absent for a type that is not read. */
    readonly dtype?: DType,
  ) {}
}

const NAMES: [string, DType][] = [
  ['float64', 'F64'],
  ['float32', 'F32'],
  ['float16', 'F16'],
  ['bfloat16', 'BF16'],
  ['float8_e4m3fn', 'F8_E4M3'],
  ['float8_e5m2', 'F8_E5M2'],
  ['int64', 'I64'],
  ['int32', 'I32'],
  ['int16', 'I16'],
  ['int8', 'I8'],
  ['uint64', 'U64'],
  ['uint32', 'U32'],
  ['uint16', 'U16'],
  ['uint8', 'U8'],
  ['bool', 'BOOL'],
];

/** Types that torch can save and stockpot does not read. */
const UNREAD = [
  'float8_e4m3fnuz',
  'float8_e5m2fnuz',
  'float8_e8m0fnu',
  'float4_e2m1fn_x2',
  'complex32',
  'complex64',
  'complex128',
  'qint8',
  'quint8',
  'qint32',
  'quint4x2',
  'quint2x4',
  'bits8',
  'bits16',
  'bits1x8',
  'bits2x4',
  'bits4x2',
];

/** Every torch dtype that a pickle may name, by its name without `torch.`. */
export const ELEMENT_TYPES: ReadonlyMap<string, ElementType> = new Map([
  ...NAMES.map(([name, dtype]) => [name, new ElementType(name, dtype)] as const),
  ...UNREAD.map((name) => [name, new ElementType(name)] as const),
]);

/** The storage classes of torch (`torch.FloatStorage`, …), by the name before `Storage`. */
export const STORAGE_TYPES: ReadonlyMap<string, string> = new Map([
  ['Double', 'float64'],
  ['Float', 'float32'],
  ['Half', 'float16'],
  ['BFloat16', 'bfloat16'],
  ['Long', 'int64'],
  ['Int', 'int32'],
  ['Short', 'int16'],
  ['Char', 'int8'],
  ['Byte', 'uint8'],
  ['Bool', 'bool'],
  ['ComplexFloat', 'complex64'],
  ['ComplexDouble', 'complex128'],
  ['QInt8', 'qint8'],
  ['QUInt8', 'quint8'],
  ['QInt32', 'qint32'],
  ['QUInt4x2', 'quint4x2'],
  ['QUInt2x4', 'quint2x4'],
  // An untyped storage counts bytes.
  ['Untyped', 'uint8'],
]);
