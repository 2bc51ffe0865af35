import { BinaryReader, WireType } from '@bufbuild/protobuf/wire';
import type { DType } from '../checkpoint/dtype.js';
import { StockpotError } from '../errors.js';

/**
 * What stockpot needs of an ONNX file (https://github.com/onnx/onnx/blob/main/onnx/onnx.proto), and where in the file the
 * rest lies, so that it can be written back byte for byte. Numbers below are that file's field numbers.
 */
export interface OnnxModel {
  /** Of the default operators. */
  opset: number;
  /** Fields of the model other than its graph, as they are. */
  rest: Uint8Array;
  /** Fields of the graph other than those below, as they are. */
  graphRest: Uint8Array;
  nodes: OnnxNode[];
  initializers: OnnxTensor[];
  /** Without those that only give an initializer's type. */
  inputs: OnnxValue[];
  outputs: OnnxValue[];
}

export interface OnnxNode {
  raw: Uint8Array;
  op: string;
  name: string;
  inputs: string[];
  outputs: string[];
  /** Inputs of its subgraphs' nodes (If, Loop), some of which are values of this graph. */
  captured: string[];
  /** A Constant's tensor. */
  value?: OnnxTensor;
  /** Other attributes, as they are, by name. */
  attributes: Map<string, Uint8Array>;
}

export interface OnnxTensor {
  name: string;
  shape: number[];
  /** Undefined for a type that no checkpoint has (strings, complex numbers, 4 bits). */
  dtype: DType | undefined;
  /** Elements in row-major order, little-endian; or where they lie. */
  data: Uint8Array | ExternalData;
  raw: Uint8Array;
}

export interface ExternalData {
  /** Relative to the graph's folder. */
  location: string;
  offset: number;
  length: number | undefined;
}

export interface OnnxValue {
  name: string;
  /** TensorProto.DataType, 0 where it is not said. */
  type: number;
  /** A name stands for a size that is not fixed. Undefined where the rank is not said. */
  shape: (number | string)[] | undefined;
  raw: Uint8Array;
}

/** TensorProto.DataType. */
const TYPES: Readonly<Record<number, DType>> = {
  1: 'F32',
  2: 'U8',
  3: 'I8',
  4: 'U16',
  5: 'I16',
  6: 'I32',
  7: 'I64',
  9: 'BOOL',
  10: 'F16',
  11: 'F64',
  12: 'U32',
  13: 'U64',
  16: 'BF16',
};

export const typeNumber = (dtype: DType): number =>
  Number(Object.entries(TYPES).find(([, d]) => d === dtype)?.[0] ?? 0);

export const typeOf = (number: number): DType | undefined => TYPES[number];

/**
 * Reads a graph. Every length is checked by the reader; nothing is allocated by what the file says.
 * @throws StockpotError FORMAT
 */
export function readOnnx(bytes: Uint8Array, path: string): OnnxModel {
  try {
    const model = readModel(bytes);
    if (model.nodes.length === 0) throw new Error('the graph has no node');
    if (model.outputs.length === 0) throw new Error('the graph has no output');
    return model;
  } catch (cause) {
    throw new StockpotError(
      'FORMAT',
      `${path}: is no ONNX graph that can be read: ${(cause as Error).message}`,
      { file: path, cause, remedy: 'Export it again (torch.onnx.export), or fetch it again.' },
    );
  }
}

/** A field: its number, its bytes with the tag, and a reader that stands at its value. */
interface Field {
  no: number;
  type: WireType;
  raw: Uint8Array;
  value: BinaryReader;
}

function* fieldsOf(bytes: Uint8Array): Generator<Field> {
  const reader = new BinaryReader(bytes);
  while (reader.pos < reader.len) {
    const from = reader.pos;
    const [no, type] = reader.tag();
    const value = new BinaryReader(bytes);
    value.pos = reader.pos;
    reader.skip(type, no);
    if (reader.pos > reader.len) throw new Error('it ends in the middle of a field');
    yield { no, type, raw: bytes.subarray(from, reader.pos), value };
  }
}

/** A field's bytes, where it is one that has a length. */
function bytesOf(f: Field): Uint8Array {
  if (f.type !== WireType.LengthDelimited) throw new Error(`field ${f.no} has another type`);
  return f.value.bytes();
}

const textOf = (f: Field): string => new TextDecoder().decode(bytesOf(f));

/** A whole number; the sign is kept. */
function numberOf(f: Field): number {
  if (f.type !== WireType.Varint) throw new Error(`field ${f.no} has another type`);
  const n = Number(f.value.int64());
  if (!Number.isSafeInteger(n)) throw new Error(`field ${f.no} is too large`);
  return n;
}

/** Repeated numbers, packed or one by one. */
function numbersOf<T>(f: Field, read: (r: BinaryReader) => T): T[] {
  if (f.type !== WireType.LengthDelimited) return [read(f.value)];
  const reader = new BinaryReader(f.value.bytes());
  const out: T[] = [];
  while (reader.pos < reader.len) out.push(read(reader));
  return out;
}

function readModel(bytes: Uint8Array): OnnxModel {
  let graph: Uint8Array | undefined;
  let opset = 0;
  const rest: Uint8Array[] = [];
  for (const f of fieldsOf(bytes)) {
    if (f.no === 7) graph = bytesOf(f);
    else rest.push(f.raw);
    if (f.no !== 8) continue;
    let domain = '';
    let version = 0;
    for (const o of fieldsOf(bytesOf(f))) {
      if (o.no === 1) domain = textOf(o);
      if (o.no === 2) version = numberOf(o);
    }
    if (domain === '' || domain === 'ai.onnx') opset = version;
  }
  if (!graph) throw new Error('it has no graph');
  return { opset, rest: Buffer.concat(rest), ...readGraph(graph) };
}

/** Far more than any graph has; each takes some hundred bytes, of two in the file. */
const MOST_PARTS = 2 ** 20;

function readGraph(bytes: Uint8Array): Omit<OnnxModel, 'opset' | 'rest'> {
  const rest: Uint8Array[] = [];
  const nodes: OnnxNode[] = [];
  const initializers: OnnxTensor[] = [];
  const values: OnnxValue[] = [];
  const outputs: OnnxValue[] = [];
  for (const f of fieldsOf(bytes)) {
    if (
      nodes.length + initializers.length + values.length + outputs.length + rest.length >
      MOST_PARTS
    )
      throw new Error(`a graph has more than ${MOST_PARTS} parts`);
    if (f.no === 1) nodes.push(readNode(f.raw, bytesOf(f)));
    else if (f.no === 5) initializers.push(readTensor(f.raw, bytesOf(f)));
    else if (f.no === 11) values.push(readValue(f.raw, bytesOf(f)));
    else if (f.no === 12) outputs.push(readValue(f.raw, bytesOf(f)));
    else rest.push(f.raw);
  }
  // Old files list initializers among the inputs, which lets a caller replace them.
  const known = new Set(initializers.map((i) => i.name));
  return {
    graphRest: Buffer.concat(rest),
    nodes,
    initializers,
    inputs: values.filter((v) => !known.has(v.name)),
    outputs,
  };
}

function readNode(raw: Uint8Array, bytes: Uint8Array): OnnxNode {
  const node: OnnxNode = {
    raw,
    op: '',
    name: '',
    inputs: [],
    outputs: [],
    captured: [],
    attributes: new Map(),
  };
  for (const f of fieldsOf(bytes)) {
    if (f.no === 1) node.inputs.push(textOf(f));
    else if (f.no === 2) node.outputs.push(textOf(f));
    else if (f.no === 3) node.name = textOf(f);
    else if (f.no === 4) node.op = textOf(f);
    else if (f.no === 5) {
      let name = '';
      let tensor: OnnxTensor | undefined;
      for (const a of fieldsOf(bytesOf(f))) {
        if (a.no === 1) name = textOf(a);
        else if (a.no === 5) tensor = readTensor(a.raw, bytesOf(a));
        else if (a.no === 6 || a.no === 11)
          for (const n of readGraph(bytesOf(a)).nodes)
            node.captured.push(...n.inputs, ...n.captured);
      }
      node.attributes.set(name, f.raw);
      if (name === 'value' && tensor) node.value = tensor;
    }
  }
  return node;
}

function readTensor(raw: Uint8Array, bytes: Uint8Array): OnnxTensor {
  let name = '';
  let type = 0;
  let external = false;
  let data: Uint8Array | undefined;
  const shape: number[] = [];
  const where: ExternalData = { location: '', offset: 0, length: undefined };
  // In place of raw_data: each of these for some types.
  const numbers: number[] = [];
  const big: bigint[] = [];
  for (const f of fieldsOf(bytes)) {
    if (f.no === 1) shape.push(...numbersOf(f, (r) => Number(r.int64())));
    else if (f.no === 2) type = numberOf(f);
    else if (f.no === 4) for (const x of numbersOf(f, (r) => r.float())) numbers.push(x);
    else if (f.no === 5) for (const x of numbersOf(f, (r) => r.int32())) numbers.push(x);
    else if (f.no === 7) for (const x of numbersOf(f, (r) => BigInt(r.int64()))) big.push(x);
    else if (f.no === 8) name = textOf(f);
    else if (f.no === 9) data = bytesOf(f);
    else if (f.no === 10) for (const x of numbersOf(f, (r) => r.double())) numbers.push(x);
    else if (f.no === 11) for (const x of numbersOf(f, (r) => BigInt(r.uint64()))) big.push(x);
    else if (f.no === 13) readExternal(bytesOf(f), where);
    else if (f.no === 14) external = numberOf(f) === 1;
  }
  const elements = shape.reduce((n, d) => n * d, 1);
  if (!shape.every((d) => Number.isSafeInteger(d) && d >= 0) || !Number.isSafeInteger(elements))
    throw new Error(`tensor "${name}" has an impossible shape`);
  const dtype = TYPES[type];
  if (external) return { name, shape, dtype, data: where, raw };
  return { name, shape, dtype, data: data ?? pack(dtype, numbers, big), raw };
}

function readExternal(bytes: Uint8Array, where: ExternalData): void {
  let key = '';
  let value = '';
  for (const f of fieldsOf(bytes)) {
    if (f.no === 1) key = textOf(f);
    else if (f.no === 2) value = textOf(f);
  }
  if (key === 'location') where.location = value;
  if (key !== 'offset' && key !== 'length') return;
  const n = Number(value);
  if (!/^\d+$/.test(value) || !Number.isSafeInteger(n))
    throw new Error(`external data has the ${key} "${value}"`);
  where[key] = n;
}

/** Elements that are stored as numbers of the message. */
function pack(dtype: DType | undefined, numbers: number[], big: bigint[]): Uint8Array {
  const bytes = (a: ArrayBufferView) => new Uint8Array(a.buffer, a.byteOffset, a.byteLength);
  switch (dtype) {
    case 'F32':
      return bytes(Float32Array.from(numbers));
    case 'F64':
      return bytes(Float64Array.from(numbers));
    case 'I64':
      return bytes(BigInt64Array.from(big));
    case 'U64':
      return bytes(BigUint64Array.from(big));
    case 'U32':
      return bytes(Uint32Array.from(big, Number));
    case 'I32':
      return bytes(Int32Array.from(numbers));
    case 'I16':
    case 'U16':
    case 'F16':
    case 'BF16':
      return bytes(Uint16Array.from(numbers));
    case undefined:
      return new Uint8Array();
    default:
      return bytes(Uint8Array.from(numbers));
  }
}

function readValue(raw: Uint8Array, bytes: Uint8Array): OnnxValue {
  const value: OnnxValue = { name: '', type: 0, shape: undefined, raw };
  for (const f of fieldsOf(bytes)) {
    if (f.no === 1) value.name = textOf(f);
    if (f.no !== 2) continue;
    for (const t of fieldsOf(bytesOf(f))) {
      if (t.no !== 1) continue; // not a tensor
      for (const part of fieldsOf(bytesOf(t))) {
        if (part.no === 1) value.type = numberOf(part);
        if (part.no === 2) value.shape = readShape(bytesOf(part));
      }
    }
  }
  return value;
}

function readShape(bytes: Uint8Array): (number | string)[] {
  const shape: (number | string)[] = [];
  for (const f of fieldsOf(bytes)) {
    if (f.no !== 1) continue;
    let size: number | string = '';
    for (const d of fieldsOf(bytesOf(f))) {
      if (d.no === 1) size = numberOf(d);
      if (d.no === 2) size = textOf(d);
    }
    shape.push(size);
  }
  return shape;
}
