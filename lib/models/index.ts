import { isObject } from '../checkpoint/json.js';
import type { Checkpoint } from '../checkpoint/types.js';
import { StockpotError } from '../errors.js';
import { bert } from './bert.js';
import { clip } from './clip.js';
import { Config, REMEDY } from './config.js';
import type { Dimensions, Family } from './family.js';
import type { Network } from './graph.js';
import { openClip } from './open_clip.js';
import { t5 } from './t5.js';
import { timmVit } from './timm_vit.js';
import { vit } from './vit.js';

export { findConfig } from './config.js';
export type { Dimensions } from './family.js';
export type { Graph, GraphInput, GraphWeight, Network, Op } from './graph.js';

/** transformers' `model_type`, the classes that the file knows, and the file. */
const TRANSFORMERS: Readonly<Record<string, { classes: readonly string[]; family: Family }>> = {
  vit: { classes: ['ViTForImageClassification'], family: vit },
  clip: { classes: ['CLIPModel'], family: clip },
  bert: { classes: ['BertForSequenceClassification'], family: bert },
  t5: { classes: ['T5ForConditionalGeneration', 'T5WithLMHeadModel'], family: t5 },
  mt5: { classes: ['MT5ForConditionalGeneration'], family: t5 },
};

/** What a checkpoint's names look like, and the families that it may be. */
const LOOKS: readonly { pattern: RegExp; what: string; family: Family }[] = [
  {
    pattern: /(^|\.)visual\.(conv1|class_embedding|transformer)/,
    what: 'CLIP as open_clip and OpenAI store it',
    family: openClip,
  },
  {
    pattern: /(^|\.)patch_embed\.proj\.weight$/,
    what: 'a timm vision transformer',
    family: timmVit,
  },
  {
    pattern: /(^|\.)vision_model\.embeddings\.patch_embedding\.weight$/,
    what: 'CLIP as transformers stores it',
    family: clip,
  },
  {
    pattern: /(^|\.)embeddings\.patch_embeddings\.projection\.weight$/,
    what: 'ViT as transformers stores it',
    family: vit,
  },
  {
    pattern: /(^|\.)embeddings\.word_embeddings\.weight$/,
    what: 'BERT or a relative of it',
    family: bert,
  },
  {
    pattern: /(^|\.)decoder\.block\.0\.layer\.0\.SelfAttention\.q\.weight$/,
    what: 'T5',
    family: t5,
  },
];

/**
 * The network that a checkpoint and its config make up. Weights are named as the checkpoint stores them.
 * @param config the parsed config (`findConfig`)
 * @param dimensions sizes of the data that neither says
 * @throws StockpotError UNSUPPORTED for a network that no family's file knows, with what was recognised and each tensor
 *   that is missing, left over, or of another shape; FORMAT for a config's entry that cannot be
 */
export function buildNetwork(
  checkpoint: Checkpoint,
  config: unknown,
  dimensions: Dimensions = {},
): Network {
  if (!isObject(config)) throw unknown(checkpoint, 'its config is no JSON object');
  const read = new Config(config, checkpoint.path);
  const family = recognise(checkpoint, read);
  const look = lookOf(checkpoint);
  if (look && look.family !== family) {
    throw unknown(checkpoint, 'its config is of another network than its tensors');
  }
  return family({ checkpoint, config: read, dimensions });
}

const lookOf = ({ tensors }: Checkpoint) =>
  LOOKS.find(({ pattern }) => [...tensors.keys()].some((name) => pattern.test(name)));

function recognise(checkpoint: Checkpoint, config: Config): Family {
  if (config.has('vision_cfg') || config.has('model_cfg')) return openClip;
  // timm's own configs, and transformers' `timm_wrapper` around them.
  if (config.has('architecture')) return timmVit;
  if (!config.has('model_type')) {
    throw unknown(checkpoint, 'its config has no model_type, architecture or vision_cfg');
  }
  const type = config.text('model_type');
  const known = Object.hasOwn(TRANSFORMERS, type) ? TRANSFORMERS[type] : undefined;
  if (!known) throw unknown(checkpoint, `its config says model_type "${type}"`);
  const classes = config.texts('architectures');
  if (classes.length > 0 && !classes.some((name) => known.classes.includes(name))) {
    throw unknown(
      checkpoint,
      `its config says ${classes.join(', ')}, expected ${known.classes.join(' or ')}`,
    );
  }
  return known.family;
}

function unknown(checkpoint: Checkpoint, why: string): StockpotError {
  const names = [...checkpoint.tensors.keys()];
  const looks = lookOf(checkpoint)?.what;
  const seen = looks
    ? `the tensors look like ${looks}`
    : `the tensors are none that it knows (${names.slice(0, 3).join(', ')}, …)`;
  return new StockpotError(
    'UNSUPPORTED',
    `${checkpoint.path}: not a network that stockpot runs: ${why}; ${seen}`,
    {
      file: checkpoint.path,
      remedy: `Layouts that it runs: transformers ViT, CLIP, BERT and T5 with a head, timm vit_*, open_clip, model-soups. ${REMEDY}`,
    },
  );
}
