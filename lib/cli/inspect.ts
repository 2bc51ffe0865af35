import type { Command } from 'commander';
import { showBytes } from '../bytes.js';
import { showShape } from '../checkpoint/shape.js';
import { inspect } from '../inspect.js';
import { plural, showCount } from './parse.js';
import { type CommonOptions, runCommand } from './run.js';

interface Options extends CommonOptions {
  hash?: boolean;
  key?: string;
}

export function inspectCommand(command: Command): Command {
  command
    .description("show a checkpoint's tensors, types, shapes, hashes and record")
    .argument('<checkpoint>', 'a file or folder')
    .option('--hash', 'hash every tensor and file')
    .option('--key <name>', 'the dict inside a wrapped PyTorch checkpoint')
    .action((path: string, options: Options) =>
      runCommand(options, async (run) => {
        const i = await inspect(path, {
          ...run,
          hash: options.hash && !options.dryRun,
          key: options.key,
        });
        const width = Math.max(...i.tensors.map((t) => t.name.length));
        const lines = [
          `${i.path}: ${i.format}, ${plural(i.files.length, 'file')}, ${plural(i.tensors.length, 'tensor')}, ${showCount(i.parameters)} parameters, ${showBytes(i.bytes)}`,
          ...i.tensors.map(
            (t) =>
              `  ${t.name.padEnd(width)}  ${t.dtype} ${showShape(t.shape)}${t.contiguous ? '' : ' (view)'}${t.sha256 ? `  ${t.sha256}` : ''}`,
          ),
          ...i.tied.map((g) => `tied: ${g.join(' = ')}`),
          ...(i.record
            ? [
                `record: ${i.record.recipe} soup of ${plural(i.record.members.length, 'ingredient')}, made by stockpot ${i.record.stockpot}`,
              ]
            : []),
          ...(i.contentHash ? [`content ${i.contentHash}`] : []),
        ];
        return { json: i, lines, notes: i.notes };
      }),
    );
  return command;
}
