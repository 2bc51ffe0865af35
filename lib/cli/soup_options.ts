import { type Command, Option } from 'commander';
import { showBytes } from '../bytes.js';
import type { OutputDType } from '../merge/plan.js';
import type { Soup, SoupOptions } from '../soup/soup.js';
import { collectGlobs, parseSize, parseWeights, plural, showCount } from './parse.js';
import type { CommonOptions, Outcome } from './run.js';

/** Options of every command that writes a soup. */
export interface SoupCommandOptions extends CommonOptions {
  output?: string;
  weights?: number[];
  normalize?: boolean;
  dtype: OutputDType;
  maxShardSize?: number;
  include?: string[];
  exclude?: string[];
  like?: string;
  hash?: boolean;
  allowNonfinite?: boolean;
  allowOverflow?: boolean;
  overwrite?: boolean;
  key?: string;
}

export function addSoupOptions(command: Command): Command {
  return command
    .option('-o, --output <out>', 'the soup: NAME.safetensors is a file, anything else a folder')
    .addOption(
      new Option('--dtype <type>', "output type; keep is the first ingredient's")
        .choices(['keep', 'f32', 'f16', 'bf16'])
        .default('keep'),
    )
    .addOption(
      new Option(
        '--max-shard-size <size>',
        'largest file of an output folder (default: 5GB)',
      ).argParser(parseSize),
    )
    .addOption(
      new Option('--include <glob>', 'only tensors whose name matches (repeatable)').argParser(
        collectGlobs,
      ),
    )
    .addOption(
      new Option('--exclude <glob>', 'not the tensors whose name matches (repeatable)').argParser(
        collectGlobs,
      ),
    )
    .option(
      '--like <model>',
      'take config, tokenizer and the like from this model (default: the first ingredient)',
    )
    .option('--key <name>', 'the dict inside wrapped PyTorch checkpoints, such as model_ema')
    .option('--hash', "record the SHA-256 of every ingredient's files")
    .option('--allow-nonfinite', 'let NaN and infinity through')
    .option('--allow-overflow', 'write infinity where a mean is too large for the output type')
    .option('--overwrite', 'replace an output that exists');
}

/** For recipes whose weights the user chooses. */
export function addWeightOptions(command: Command): Command {
  return command
    .addOption(
      new Option('--weights <w1,w2,…>', 'one number an ingredient, used as given').argParser(
        parseWeights,
      ),
    )
    .option('--normalize', 'divide the weights by their sum');
}

export function soupOptions(o: SoupCommandOptions): SoupOptions {
  const {
    weights,
    normalize,
    dtype,
    maxShardSize,
    include,
    exclude,
    like,
    hash,
    allowNonfinite,
    allowOverflow,
    overwrite,
    key,
    dryRun,
  } = o;
  return {
    weights,
    normalize,
    dtype,
    maxShardSize,
    include,
    exclude,
    like,
    hash,
    allowNonfinite,
    allowOverflow,
    overwrite,
    key,
    dryRun,
  };
}

const showWeights = (s: Soup): string => {
  const used = s.members.map((i) => s.weights[i] as number);
  return used.every((w) => w === used[0]) ? `${used[0]} each` : s.weights.join(', ');
};

export function soupOutcome(s: Soup): Outcome {
  const sum = s.weights.reduce((a, b) => a + b, 0);
  const lines = [
    `${s.dryRun ? 'would make' : 'made'} a ${s.recipe} soup of ${s.members.length} of ${plural(s.ingredients.length, 'ingredient')}${s.output === null ? '' : `: ${s.output}`}`,
    `  ${plural(s.tensors, 'tensor')}, ${showCount(s.parameters)} parameters; weights ${showWeights(s)} (sum ${Number(sum.toPrecision(12))})`,
    s.dryRun
      ? `  reads ${showBytes(s.bytesRead)}, writes ${showBytes(s.bytesWritten)}, holds up to ${showBytes(s.memory)} in buffers, ${s.threads} threads`
      : `  read ${showBytes(s.bytesRead)}, wrote ${showBytes(s.bytesWritten)} in ${s.seconds.toFixed(2)} s (${showBytes((s.bytesRead + s.bytesWritten) / s.seconds)}/s)`,
    ...(s.sha256 === null ? [] : [`  sha256 ${s.sha256}`]),
  ];
  return { json: s, lines, warnings: s.warnings, notes: s.notes };
}
