import type { Command } from 'commander';
import { verify } from '../verify.js';
import { plural } from './parse.js';
import { type CommonOptions, EXIT, runCommand } from './run.js';

export function verifyCommand(command: Command): Command {
  command
    .description('prove that a soup is what its record says, by making it again')
    .argument('<soup>', 'a soup made by stockpot')
    .argument('[ingredient...]', 'where its ingredients are now, if they moved')
    .action((soup: string, ingredients: string[], options: CommonOptions) =>
      runCommand(options, async (run) => {
        const v = await verify(soup, { ...run, ingredients });
        const lines = [
          `${v.soup}: ${v.verified ? 'verified' : 'NOT what its record says'}: ${v.record.recipe} soup of ${plural(v.record.members.length, 'ingredient')}`,
          ...v.mismatches.map((m) => `  tensor "${m.tensor}" ${m.message}`),
          ...v.unproved.map((u) => `  not proved: ${u}`),
          `  sha256 ${v.sha256}`,
        ];
        return {
          json: v,
          lines,
          exit: v.verified ? EXIT.done : EXIT.failed,
        };
      }),
    );
  return command;
}
