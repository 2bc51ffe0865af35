import { type Command, Option } from 'commander';
import { StockpotError } from '../errors.js';
import { type ZeroshotOptions, zeroshot } from '../heads/zeroshot.js';
import { plural } from './parse.js';
import { type CommonOptions, runCommand } from './run.js';

interface Options
  extends CommonOptions,
    Omit<ZeroshotOptions, 'device' | 'threads' | 'memory' | 'dryRun'> {
  output?: string;
}

export function zeroshotCommand(command: Command): Command {
  command
    .description('make a classification head from class names and prompts, by a text tower')
    .argument('<model>', 'a CLIP, or an ALIGN with --graph')
    .option('-o, --output <head>', 'the head: NAME.safetensors is a file, anything else a folder')
    .option('--classes <file>', 'class names, one a line')
    .option('--templates <file>', 'prompts, one a line, with {} for the name')
    .option('--tokenizer <file>', 'tokenizer.json, where none lies beside the model')
    .option('--config <file>', "the network's config, where none lies beside the model")
    .addOption(
      new Option('--graph <file.onnx>', 'the text tower as a graph, or a graph that has it'),
    )
    .option('--key <name>', 'the dict inside a wrapped PyTorch checkpoint')
    .option('--overwrite', 'replace an output that exists')
    .action((model: string, options: Options) =>
      runCommand(options, async (run) => {
        const { output, classes, templates } = options;
        if (output === undefined || classes === undefined || templates === undefined) {
          throw new StockpotError('USAGE', 'expected --classes FILE, --templates FILE and -o HEAD');
        }
        const { tokenizer, config, graph, key, overwrite, device, dryRun } = options;
        const { notes, ...json } = await zeroshot(model, output, {
          ...run,
          ...{ classes, templates, tokenizer, config, graph, key, overwrite, device, dryRun },
        });
        const line = dryRun
          ? `would write ${json.output}: a head of ${json.classes} classes, from ${plural(json.templates, 'template')} each`
          : `wrote ${json.output}: a head of ${json.classes} classes on ${json.features} features, from ${plural(json.templates, 'template')} each`;
        return { json, lines: [line], notes };
      }),
    );
  return command;
}
