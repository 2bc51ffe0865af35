import type { Command } from 'commander';
import { diff } from '../diff.js';
import { plural } from './parse.js';
import { type CommonOptions, EXIT, runCommand } from './run.js';

export function diffCommand(command: Command): Command {
  command
    .description('show how two checkpoints differ (exit 1 where they do, as diff does)')
    .argument('<a>', 'a file or folder')
    .argument('<b>', 'a file or folder')
    .option('--key <name>', 'the dict inside wrapped PyTorch checkpoints')
    .action((a: string, b: string, options: CommonOptions & { key?: string }) =>
      runCommand(options, async (run) => {
        const d = await diff(a, b, { ...run, key: options.key });
        const lines = [
          ...d.onlyInA.map((n) => `- ${n}`),
          ...d.onlyInB.map((n) => `+ ${n}`),
          ...d.differing.map((t) => `~ ${t.name}: ${t.message}`),
          d.identical
            ? `identical: ${plural(d.same, 'tensor')}`
            : `${d.onlyInA.length} only in ${d.a}, ${d.onlyInB.length} only in ${d.b}, ${d.differing.length} differ, ${d.same} are the same`,
        ];
        return {
          json: d,
          lines,
          notes: d.notes,
          exit: d.identical ? EXIT.done : EXIT.failed,
        };
      }),
    );
  return command;
}
