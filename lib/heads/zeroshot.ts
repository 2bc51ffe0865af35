import { throwIfAborted } from '../checkpoint/job.js';
import { openCheckpoint } from '../checkpoint/open.js';
import { AtomicOutput } from '../checkpoint/output.js';
import type { Checkpoint, TensorEntry } from '../checkpoint/types.js';
import { requireProcessor } from '../cuda.js';
import { toFloat32 } from '../data/numbers.js';
import type { TextTokenizer } from '../data/text/tokenizer.js';
import { StockpotError } from '../errors.js';
import { NativeNetwork } from '../evaluate/native_network.js';
import { matchTensors } from '../merge/match.js';
import { planTensors } from '../merge/plan.js';
import { mixToMemory } from '../merge/to_memory.js';
import { resolveWeights } from '../merge/weights.js';
import { buildNetwork, findConfig } from '../models/index.js';
import { type TextBatch, TextFeatures } from '../onnx/text_features.js';
import type { RunOptions } from '../progress.js';
import { writeHead } from './head_file.js';
import { encodePrompts, promptTokenizer, readLines, readTemplates } from './prompts.js';

export interface ZeroshotOptions extends RunOptions {
  /** A file of class names, one a line. */
  classes: string;
  /** A file of templates, one a line, with {} for the class's name. */
  templates: string;
  /** tokenizer.json; the one beside the model by default. */
  tokenizer?: string;
  config?: string;
  key?: string;
  /** An ONNX graph with the text tower, of a model that stockpot does not know (ALIGN). */
  graph?: string;
  overwrite?: boolean;
  /** Check all that can be checked without running the text tower; nothing is written. */
  dryRun?: boolean;
}

/** A classification head made of class names and prompts. */
export interface Zeroshot {
  model: string;
  output: string;
  /** How many of them: the head's weight is [classes, features]. */
  classes: number;
  templates: number;
  /** Null in a dry run. */
  features: number | null;
  /** What the normalised embeddings are multiplied by: exp(logit_scale), or 1/temperature. */
  scale: number;
  dryRun?: true;
  notes: string[];
}

/** Features of n texts, [n, width]. */
type Tower = (texts: TextBatch, n: number) => Promise<Float32Array>;

/** Longest text where nothing says it: CLIP's. */
const CONTEXT = 77;

/**
 * A head from class names and prompts, as the model-soups code makes it (zeroshot.py of mlfoundations/model-soups): the
 * prompts' text features are normalised, averaged over the templates, normalised again, and multiplied by exp(logit_scale).
 * It stands on image features of length 1. Biases are 0.
 * @param model a CLIP (transformers, open_clip), or, with `graph`, an ALIGN
 * @param output a name ending in .safetensors, or a folder
 * @throws StockpotError NOT_FOUND, IO, FORMAT, UNSUPPORTED for what cannot be read; MISMATCH where model and data do not fit
 *   together; NONFINITE, OVERFLOW, CHANGED; MEMORY, DEVICE, NATIVE; USAGE; ABORTED
 */
export async function zeroshot(
  model: string | Checkpoint,
  output: string,
  options: ZeroshotOptions,
): Promise<Zeroshot> {
  if (options.graph === undefined) requireProcessor(options.device, 'networks run');
  const checkpoint = typeof model === 'string' ? await openCheckpoint(model, options) : model;
  const inputs = [checkpoint.path, ...checkpoint.files.map((f) => f.path)];
  await AtomicOutput.check(output, { overwrite: options.overwrite, inputs });
  const names = await readLines(options.classes, 'one class');
  const templates = await readTemplates(options.templates);
  const tokenizer = await promptTokenizer(checkpoint.path, options.tokenizer);
  const scale = await scaleOf(checkpoint);
  const made = {
    model: checkpoint.path,
    output,
    classes: names.length,
    templates: templates.length,
    scale,
    notes: [...checkpoint.notes],
  };
  if (options.dryRun) return { ...made, features: null, dryRun: true };
  const prompts = names.flatMap((name) => templates.map((t) => t(name)));
  const tower = options.graph
    ? await graphTower(options.graph, checkpoint, prompts, tokenizer, options)
    : await nativeTower(checkpoint, prompts, tokenizer, options);
  try {
    const rows: Float64Array[] = [];
    for (const i of names.keys()) {
      throwIfAborted(options.signal);
      const features = await tower.features(i * templates.length, templates.length);
      rows.push(classEmbedding(features, templates.length));
    }
    const width = rows[0]?.length ?? 0;
    const weight = Float32Array.from(
      rows.flatMap((r) => [...r]),
      (x) => x * scale,
    );
    const bad = weight.findIndex((x) => !Number.isFinite(x));
    if (bad >= 0)
      throw new StockpotError(
        'NONFINITE',
        `${checkpoint.path}: the text features of class "${names[Math.floor(bad / width)]}" are not finite`,
        { file: checkpoint.path },
      );
    const head = { weight, bias: new Float32Array(names.length), classNames: names };
    await writeHead(head, output, { overwrite: options.overwrite, inputs });
    return { ...made, features: width };
  } finally {
    await tower.close();
  }
}

/** The mean of rows of length 1, of length 1. */
function classEmbedding(features: Float32Array, n: number): Float64Array {
  const width = features.length / n;
  const mean = new Float64Array(width);
  for (let r = 0; r < n; r++) {
    const row = features.subarray(r * width, (r + 1) * width);
    const length = Math.hypot(...row);
    for (const [j, x] of row.entries()) mean[j] = (mean[j] as number) + x / length / n;
  }
  const length = Math.hypot(...mean);
  return mean.map((x) => x / length);
}

/** exp(logit_scale), or 1/temperature. */
async function scaleOf(checkpoint: Checkpoint): Promise<number> {
  const found = [...checkpoint.tensors.values()].find((t) =>
    /(^|\.)(logit_scale|temperature)$/.test(t.name),
  );
  if (!found || found.shape.some((d) => d !== 1)) {
    throw new StockpotError(
      'UNSUPPORTED',
      `${checkpoint.path}: holds neither logit_scale nor temperature: it compares no images with texts`,
      { file: checkpoint.path, remedy: 'Name a CLIP, or an ALIGN with --graph.' },
    );
  }
  const value = (await readOne(checkpoint, found))[0] as number;
  return found.name.endsWith('temperature') ? 1 / value : Math.exp(value);
}

async function readOne(checkpoint: Checkpoint, entry: TensorEntry): Promise<Float32Array> {
  const matched = [{ name: entry.name, entries: [entry] }];
  const plan = planTensors(matched, resolveWeights(1), 'f32');
  const bytes = (await mixToMemory([checkpoint], plan)).get(entry.name) as Uint8Array;
  return toFloat32('F32', bytes) as Float32Array;
}

/** The tower over prompts that are all known: features of prompts from … from + n. */
interface PromptTower {
  features(from: number, n: number): Promise<Float32Array>;
  close(): Promise<void>;
}

async function nativeTower(
  checkpoint: Checkpoint,
  prompts: readonly string[],
  tokenizer: TextTokenizer,
  options: ZeroshotOptions,
): Promise<PromptTower> {
  const config = await findConfig(checkpoint.path, options.config);
  const texts = encodePrompts(tokenizer, prompts, contextOf(config));
  const network = buildNetwork(checkpoint, config, {
    classes: { n: prompts.length, sequenceLength: texts.length },
    inputs: ['pixel_values', 'class_input_ids', 'class_attention_mask'],
  });
  const graph = network.classes;
  if (!graph) {
    throw new StockpotError('UNSUPPORTED', `${checkpoint.path}: has no text tower`, {
      file: checkpoint.path,
      remedy: 'Name a CLIP that was not made a classifier, or an ALIGN with --graph.',
    });
  }
  const numClasses = graph.values[graph.output]?.columns ?? 0;
  const { threads, memory } = options;
  const { tensors } = await matchTensors([checkpoint]);
  const native = NativeNetwork.create({ graph, numClasses }, { threads, memory });
  try {
    await native.load([checkpoint], planTensors(tensors, resolveWeights(1), 'keep'), options);
  } catch (e) {
    native.close();
    throw e;
  }
  const rows = (from: Int32Array, indices: ArrayLike<number>) => {
    const out = new Int32Array(indices.length * texts.length);
    for (let i = 0; i < indices.length; i++) {
      const at = (indices[i] as number) * texts.length;
      out.set(from.subarray(at, at + texts.length), i * texts.length);
    }
    return out;
  };
  const data = {
    shared: {},
    batch: async (indices: ArrayLike<number>) => ({
      class_input_ids: rows(texts.ids, indices),
      class_attention_mask: rows(texts.mask, indices),
    }),
  };
  return {
    features: (from, n) =>
      native.logits(
        data,
        Array.from({ length: n }, (_, i) => from + i),
        options,
      ),
    close: async () => native.close(),
  };
}

/** Tokens that a text tower takes at most, as its config says. */
function contextOf(config: unknown): number {
  const c = config as {
    text_config?: { max_position_embeddings?: unknown };
    text_cfg?: { context_length?: unknown };
    model_cfg?: { text_cfg?: { context_length?: unknown } };
  };
  const said =
    c?.text_config?.max_position_embeddings ??
    (c?.text_cfg ?? c?.model_cfg?.text_cfg)?.context_length;
  return typeof said === 'number' && said > 1 ? said : CONTEXT;
}

async function graphTower(
  path: string,
  checkpoint: Checkpoint,
  prompts: readonly string[],
  tokenizer: TextTokenizer,
  options: ZeroshotOptions,
): Promise<PromptTower> {
  const config: unknown = await findConfig(checkpoint.path, options.config).catch(() => undefined);
  const tower = await TextFeatures.open(path, checkpoint, options);
  const texts = encodePrompts(tokenizer, prompts, tower.length ?? contextOf(config), tower.length);
  const run: Tower = tower.run;
  const part = (all: Int32Array, indices: readonly number[]) =>
    Int32Array.from(
      indices.flatMap((i) => [...all.subarray(i * texts.length, (i + 1) * texts.length)]),
    );
  return {
    features: async (from, n) => {
      const size = tower.rows ?? 1;
      const parts: number[] = [];
      // One text at a time, or as many as the graph was made for: features depend on no other text.
      for (let at = 0; at < n; at += size) {
        const wanted = Math.min(size, n - at);
        const indices = Array.from({ length: size }, (_, i) => from + at + Math.min(i, wanted - 1));
        const { length } = texts;
        const out = await run(
          { ids: part(texts.ids, indices), mask: part(texts.mask, indices), length },
          size,
        );
        parts.push(...out.subarray(0, (out.length / size) * wanted));
      }
      return Float32Array.from(parts);
    },
    close: () => tower.close(),
  };
}
