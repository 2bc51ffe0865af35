// What dump_network.mjs runs. The file's layout is that of test/gpu/support/network_dump.cc.
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Writable } from 'node:stream';
import { parseArgs } from 'node:util';
import { openCheckpoint } from '../lib/checkpoint/open.js';
import type { Checkpoint } from '../lib/checkpoint/types.js';
import { openDataSet } from '../lib/data/open.js';
import type { DataSet } from '../lib/data/types.js';
import { NativeNetwork } from '../lib/evaluate/native_network.js';
import { dimensionsOf } from '../lib/evaluate/session.js';
import { matchTensors } from '../lib/merge/match.js';
import { planTensors } from '../lib/merge/plan.js';
import { resolveWeights } from '../lib/merge/weights.js';
import {
  buildNetwork,
  findConfig,
  type Graph,
  type GraphInput,
  type Network,
  type Op,
} from '../lib/models/index.js';
import { uniform } from '../lib/recipes/uniform.js';

const MAGIC = 0x31505453; // "STP1"
/** native/executor/graph.h */
const KINDS = [
  ...['patches', 'embedding', 'add_rows', 'add_row', 'add', 'prepend_row', 'linear', 'layer_norm'],
  ...['rms_norm', 'attention', 'select_row', 'select_row_by_id', 'mean_rows', 'l2_normalize'],
  ...['scale', 'similarity', 'log_likelihood'],
];
/** native/kernels/network_ops.h */
const ACTIVATIONS = ['none', 'gelu', 'gelu_tanh', 'quick_gelu', 'relu', 'tanh', 'silu'];

const product = (shape: readonly number[]) => shape.reduce((n, d) => n * d, 1);
const range = (n: number) => [...Array(n).keys()];

/** Numbers one after another, little-endian. */
class Bytes {
  private readonly parts: Uint8Array[] = [];
  u32(...numbers: number[]): this {
    return this.add(Uint32Array.from(numbers, (n) => n >>> 0));
  }
  u64(...numbers: number[]): this {
    return this.add(BigInt64Array.from(numbers, BigInt));
  }
  f32(n: number): this {
    return this.add(Float32Array.of(n));
  }
  add(data: NodeJS.TypedArray): this {
    this.parts.push(new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
    return this;
  }
  all(): Buffer {
    return Buffer.concat(this.parts);
  }
}

/** `stockpot_graph_op`'s numbers, in the order of native/executor/graph.h. */
function numbersOf(op: Op): number[] {
  switch (op.op) {
    case 'patches':
      return [op.channels, op.height, op.width, op.patch];
    case 'embedding':
      return [0];
    case 'add_rows':
      return [op.first];
    case 'add_row':
      return [op.row];
    case 'attention':
      return [
        ...[op.q_column, op.k_column, op.v_column, op.heads, op.width, op.groups],
        ...[Number(op.shared_kv), Number(op.causal)],
      ];
    case 'select_row':
      return [op.index];
    case 'select_row_by_id':
      return [op.equal ?? -1];
    case 'mean_rows':
      return [op.from];
    case 'log_likelihood':
      return [op.classes];
    default:
      return [];
  }
}

/** Any of the fields that an operation may have. */
type Fields = Partial<Record<string, number>>;

function writeOp(to: Bytes, op: Op, buckets: number[]): void {
  const f = op as unknown as Fields;
  const table = op.op === 'attention' ? op.bias : undefined;
  const weight = table?.table ?? f.table ?? f.weight;
  const values =
    op.op === 'attention'
      ? [op.q, op.k, op.v]
      : op.op === 'add'
        ? [op.a, op.b]
        : [f.x, f.multiply, f.residual];
  to.u32(KINDS.indexOf(op.op), op.out);
  to.u32(...range(3).map((i) => values[i] ?? -1));
  to.u32((op.op === 'attention' ? op.mask : f.input) ?? -1);
  to.u32((op.op === 'prepend_row' ? op.row : weight) ?? -1);
  const bias = op.op === 'attention' ? undefined : f.bias;
  to.u32(
    bias ?? -1,
    (op.op === 'scale' ? op.exp : op.op === 'linear' ? op.scale : undefined) ?? -1,
  );
  to.u32(op.op === 'linear' ? ACTIVATIONS.indexOf(op.activation) : 0);
  to.u32(op.op === 'linear' && op.transposed ? 1 : 0);
  to.f32(op.op === 'scale' ? op.by : op.op === 'attention' ? op.scale : (f.epsilon ?? 0));
  const numbers = numbersOf(op);
  to.u32(numbers.length, buckets.length, table?.buckets.length ?? 0, 0);
  to.u64(...range(8).map((i) => numbers[i] ?? 0));
  for (const b of table?.buckets ?? []) buckets.push(b);
}

function writeGraph(graph: Graph, batch: number): Buffer {
  const tables = new Bytes();
  for (const { shape, dtype, shared } of graph.inputs)
    tables.u64(product(shape)).u32(Number(dtype === 'i32'), Number(shared));
  for (const { shape } of graph.weights)
    tables.u32(shape.length, 0).u64(...range(8).map((i) => shape[i] ?? 0));
  for (const { rows, columns } of graph.values) tables.u64(rows, columns);
  const buckets: number[] = [];
  for (const op of graph.ops) writeOp(tables, op, buckets);
  tables.add(Int32Array.from(buckets));
  const counts = [graph.inputs, graph.weights, graph.values, graph.ops, buckets];
  const head = new Bytes().u32(MAGIC, batch, graph.output, ...counts.map((c) => c.length));
  return Buffer.concat([head.all(), tables.all()]);
}

/** A checkpoint's tensors in float32, by their names. */
async function weightsOf(checkpoint: Checkpoint): Promise<Map<string, Uint8Array>> {
  const chunks: Buffer[] = [];
  const sink = new Writable({
    write(chunk: Buffer, _encoding, done) {
      chunks.push(Buffer.from(chunk));
      done();
    },
  });
  await uniform([checkpoint], sink, { dtype: 'f32' });
  const file = Buffer.concat(chunks);
  const begin = 8 + Number(file.readBigUInt64LE(0));
  const header: Record<string, { data_offsets?: [number, number] }> = JSON.parse(
    file.toString('utf8', 8, begin),
  );
  return new Map(
    Object.entries(header).flatMap(([name, { data_offsets: at }]) =>
      at ? [[name, file.subarray(begin + at[0], begin + at[1])] as const] : [],
    ),
  );
}

/** Logits of the network's examples. */
async function run(
  network: Network,
  checkpoint: Checkpoint,
  data: Pick<DataSet, 'batch' | 'shared' | 'tokens'>,
  count: number,
): Promise<Float32Array> {
  const native = NativeNetwork.create(network, { batch: count });
  const { tensors } = await matchTensors([checkpoint]);
  await native.load([checkpoint], planTensors(tensors, resolveWeights(1, undefined), 'f32'));
  const logits = await native.logits(data, range(count));
  native.close();
  return logits;
}

/** The shared inputs: the data's, the network's own, and the features of the classes that it makes. */
async function sharedOf(network: Network, checkpoint: Checkpoint, data: DataSet) {
  const shared: Record<string, Float32Array | Int32Array> = { ...network.constants };
  for (const [name, t] of Object.entries(data.shared)) shared[name] = t.data;
  const { classes, numClasses } = network;
  if (!classes) return shared;
  const part = ({ name, shape }: GraphInput, indices: ArrayLike<number>) => {
    const length = product(shape);
    const at = indices[0] as number;
    return shared[name]?.subarray(at * length, (at + indices.length) * length);
  };
  const prompts = {
    shared: {},
    batch: async (indices: ArrayLike<number>) =>
      Object.fromEntries(classes.inputs.map((i) => [i.name, part(i, indices) as Int32Array])),
  };
  const columns = classes.values[classes.output]?.columns as number;
  shared.class_features = await run(
    { graph: classes, numClasses: columns },
    checkpoint,
    prompts,
    numClasses,
  );
  return shared;
}

async function main(): Promise<void> {
  const { positionals, values } = parseArgs({
    allowPositionals: true,
    options: { examples: { type: 'string', default: '8' } },
  });
  const [from, dataPath, folder] = positionals;
  if (!from || !dataPath || !folder)
    throw new Error('expected CHECKPOINT DATA FOLDER [--examples N]');
  const checkpoint = await openCheckpoint(from);
  const data = await openDataSet(dataPath, { model: from });
  const network = buildNetwork(checkpoint, await findConfig(from), dimensionsOf(data));
  const { graph } = network;
  const count = Math.min(data.count, Number(values.examples));
  const inputs: Record<string, Float32Array | Int32Array> = {
    ...(await sharedOf(network, checkpoint, data)),
    ...(await data.batch(range(count))),
  };
  const weights = await weightsOf(checkpoint);
  const expected = await run(network, checkpoint, data, count);
  await data.close();
  const bytes = new Bytes().add(writeGraph(graph, count));
  for (const { name } of graph.weights) bytes.add(weights.get(name) as Uint8Array);
  for (const { name } of graph.inputs) bytes.add(inputs[name] as Float32Array);
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, 'network.bin'), bytes.add(expected).all());
}

await main();
