import type { Checkpoint } from '../checkpoint/types.js';
import { StockpotError } from '../errors.js';
import { matchTensors } from '../merge/match.js';
import { planTensors } from '../merge/plan.js';
import { resolveWeights } from '../merge/weights.js';
import type { RunOptions } from '../progress.js';
import { resolveThreads } from '../threads.js';
import { GraphFiles } from './graph_files.js';
import { toTensor } from './inputs.js';
import { type GraphMatchOptions, matchGraph } from './match.js';
import { readOnnx, typeOf } from './model.js';
import { readGraph } from './network.js';
import { partFor, whereInputsMeet } from './part.js';
import { onnxRuntime, providersFor } from './runtime.js';

/** Inputs of text towers, and what they are filled with. */
const TEXT: Readonly<Record<string, 'ids' | 'mask' | 'zeros'>> = {
  input_ids: 'ids',
  class_input_ids: 'ids',
  attention_mask: 'mask',
  class_attention_mask: 'mask',
  token_type_ids: 'zeros',
  class_token_type_ids: 'zeros',
};

/** Texts as ids, [n, length] each. */
export interface TextBatch {
  ids: Int32Array;
  mask: Int32Array;
  length: number;
}

/**
 * The text tower inside a graph: of one that compares images with texts, what makes the texts' features; or a graph that
 * has texts alone.
 */
export class TextFeatures {
  private constructor(
    /** Texts at a time, and tokens of each, where the graph was exported for fixed numbers. */
    readonly rows: number | undefined,
    readonly length: number | undefined,
    readonly run: (texts: TextBatch, n: number) => Promise<Float32Array>,
    readonly close: () => Promise<void>,
  ) {}

  /** @throws StockpotError as `OnnxNetwork.open`; UNSUPPORTED where no text tower is found */
  static async open(
    path: string,
    checkpoint: Checkpoint,
    options: GraphMatchOptions & RunOptions & { device?: string },
  ): Promise<TextFeatures> {
    const ort = onnxRuntime();
    const executionProviders = providersFor(options.device);
    const model = readOnnx(await readGraph(path), path);
    const own = new Set(model.inputs.map((i) => i.name).filter((n) => Object.hasOwn(TEXT, n)));
    const value =
      own.size === model.inputs.length
        ? model.outputs.find((o) => o.type === 1 && o.shape?.length === 2)?.name
        : whereInputsMeet(model, own);
    if (own.size === 0 || value === undefined) {
      throw new StockpotError('UNSUPPORTED', `${path}: no text tower is found in the graph`, {
        file: path,
        remedy:
          'Export a graph with the inputs input_ids and attention_mask and one output, the texts’ features [n, width].',
      });
    }
    const { tensors: matched } = await matchTensors([checkpoint]);
    const { weights } = await matchGraph(path, model, matched, [checkpoint], options);
    const part = partFor(model, value);
    const known = new Set(part.initializers.map((i) => i.name));
    const nodes = new Set(part.nodes);
    const used = weights.filter((w) =>
      w.slot.node ? nodes.has(w.slot.node) : known.has(w.slot.name),
    );
    const files = await GraphFiles.open(path, part, used);
    try {
      await files.write([checkpoint], planTensors(matched, resolveWeights(1), 'keep'), options);
      const session = await ort.InferenceSession.create(files.graph, {
        executionProviders,
        intraOpNumThreads: resolveThreads(options.threads),
        logSeverityLevel: 3,
      });
      const fixed = (dimension: number) => {
        const size = part.inputs[0]?.shape?.[dimension];
        return typeof size === 'number' && size > 0 ? size : undefined;
      };
      const run = async ({ ids, mask, length }: TextBatch, n: number) => {
        const values = { ids, mask, zeros: new Int32Array(ids.length) };
        const feeds = Object.fromEntries(
          part.inputs.map((i) => {
            const type = typeOf(i.type) === 'I32' ? 'int32' : 'int64';
            const filling = TEXT[i.name] as keyof typeof values;
            return [i.name, toTensor(ort, type, values[filling], [n, length])];
          }),
        );
        const out = (await session.run(feeds, [value]))[value];
        return rowsOf(path, out?.data as Float32Array, out?.dims ?? [], n);
      };
      const close = async () => {
        await session.release();
        await files.close();
      };
      return new TextFeatures(fixed(0), fixed(1), run, close);
    } catch (cause) {
      await files.close();
      if (cause instanceof StockpotError) throw cause;
      const said = (cause as Error).message.replace(/\s+/g, ' ');
      throw new StockpotError(
        'UNSUPPORTED',
        `${path}: ONNX Runtime cannot load the text tower: ${said}`,
        {
          file: path,
          cause,
        },
      );
    }
  }
}

/** [n, width], also where the graph has it transposed. */
function rowsOf(
  path: string,
  data: Float32Array,
  dims: readonly number[],
  n: number,
): Float32Array {
  const [rows = 0, columns = 0] = dims;
  if (dims.length === 2 && rows === n) return data;
  if (dims.length !== 2 || columns !== n) {
    throw new StockpotError(
      'UNSUPPORTED',
      `${path}: the texts' features have the shape [${dims.join(', ')}], expected [${n}, width]`,
      { file: path },
    );
  }
  return Float32Array.from(data, (_, i) => data[(i % rows) * n + Math.floor(i / rows)] as number);
}
