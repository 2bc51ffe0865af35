import { BinaryWriter, WireType } from '@bufbuild/protobuf/wire';
import type { DType } from '../checkpoint/dtype.js';
import { type OnnxModel, typeNumber } from './model.js';

/** An initializer whose elements lie in a file beside the graph. */
export interface ExternalInitializer {
  name: string;
  dtype: DType;
  shape: readonly number[];
  location: string;
  offset: number;
  length: number;
}

const field = (w: BinaryWriter, no: number, body: (w: BinaryWriter) => void): BinaryWriter => {
  w.tag(no, WireType.LengthDelimited).fork();
  body(w);
  return w.join();
};

const text = (w: BinaryWriter, no: number, value: string): BinaryWriter =>
  w.tag(no, WireType.LengthDelimited).string(value);

/** One field of a message: an initializer (5 of GraphProto) that points into a file. */
export function externalInitializer(t: ExternalInitializer): Uint8Array {
  const w = new BinaryWriter();
  field(w, 5, () => {
    for (const d of t.shape) w.tag(1, WireType.Varint).int64(d);
    w.tag(2, WireType.Varint).int32(typeNumber(t.dtype));
    text(w, 8, t.name);
    const entries = { location: t.location, offset: String(t.offset), length: String(t.length) };
    for (const [key, value] of Object.entries(entries)) {
      field(w, 13, () => {
        text(w, 1, key);
        text(w, 2, value);
      });
    }
    w.tag(14, WireType.Varint).int32(1);
  });
  return w.finish();
}

/** An initializer (5 of GraphProto) with its elements. */
export function inlineInitializer(
  name: string,
  dtype: DType,
  shape: readonly number[],
  bytes: Uint8Array,
): Uint8Array {
  const w = new BinaryWriter();
  field(w, 5, () => {
    for (const d of shape) w.tag(1, WireType.Varint).int64(d);
    w.tag(2, WireType.Varint).int32(typeNumber(dtype));
    text(w, 8, name);
    w.tag(9, WireType.LengthDelimited).bytes(bytes);
  });
  return w.finish();
}

/** An output of a graph (12 of GraphProto): its shape is left open. */
export function output(name: string, dtype: DType): Uint8Array {
  const w = new BinaryWriter();
  field(w, 12, () => {
    text(w, 1, name);
    field(w, 2, () => {
      field(w, 1, () => {
        w.tag(1, WireType.Varint).int32(typeNumber(dtype));
      });
    });
  });
  return w.finish();
}

/** A node (1 of GraphProto). @param attributes as they are in a file */
export function node(
  op: string,
  inputs: readonly string[],
  outputs: readonly string[],
  attributes: readonly Uint8Array[],
): Uint8Array {
  const w = new BinaryWriter();
  field(w, 1, () => {
    for (const i of inputs) text(w, 1, i);
    for (const o of outputs) text(w, 2, o);
    text(w, 4, op);
    for (const a of attributes) w.raw(a);
  });
  return w.finish();
}

/** A whole number, or a float, as an attribute (5 of NodeProto). */
export function attribute(name: string, value: { int: number } | { float: number }): Uint8Array {
  const w = new BinaryWriter();
  field(w, 5, () => {
    text(w, 1, name);
    if ('int' in value)
      w.tag(3, WireType.Varint).int64(value.int).tag(20, WireType.Varint).int32(2);
    else w.tag(2, WireType.Bit32).float(value.float).tag(20, WireType.Varint).int32(1);
  });
  return w.finish();
}

/** The file: the model's own fields, and a graph of these nodes, initializers and outputs. */
export function writeOnnx(
  model: Pick<OnnxModel, 'rest' | 'graphRest'>,
  parts: {
    nodes: readonly Uint8Array[];
    initializers: readonly Uint8Array[];
    inputs: readonly Uint8Array[];
    outputs: readonly Uint8Array[];
  },
): Uint8Array {
  const graph = Buffer.concat([
    model.graphRest,
    ...parts.nodes,
    ...parts.initializers,
    ...parts.inputs,
    ...parts.outputs,
  ]);
  const head = new BinaryWriter().tag(7, WireType.LengthDelimited).uint32(graph.length).finish();
  return Buffer.concat([model.rest, head, graph]);
}
