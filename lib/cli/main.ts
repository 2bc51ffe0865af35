import { Command, CommanderError } from 'commander';
import { version } from '../version.js';
import { anglesCommand } from './angles.js';
import { compareCommand } from './compare.js';
import { completionCommand } from './completion.js';
import { devicesCommand } from './devices.js';
import { diffCommand } from './diff.js';
import { ensembleCommand } from './ensemble.js';
import { evaluateCommand } from './evaluate.js';
import { gapCommand } from './gap.js';
import { gradientCommand } from './gradient.js';
import { greedyCommand } from './greedy.js';
import { inspectCommand } from './inspect.js';
import { landscapeCommand } from './landscape.js';
import { learnedCommand } from './learned.js';
import { keepOperands } from './operands.js';
import { predictCommand } from './predict.js';
import { probeCommand } from './probe.js';
import { reportCommand } from './report.js';
import { addCommonOptions, EXIT, reportFailure } from './run.js';
import { shiftCommand } from './shift.js';
import { uniformCommand } from './uniform.js';
import { verifyCommand } from './verify.js';
import { zeroshotCommand } from './zeroshot.js';

const COMMANDS: Record<string, (command: Command) => Command> = {
  uniform: uniformCommand,
  greedy: greedyCommand,
  learned: learnedCommand,
  gradient: gradientCommand,
  evaluate: evaluateCommand,
  predict: predictCommand,
  ensemble: ensembleCommand,
  zeroshot: zeroshotCommand,
  probe: probeCommand,
  compare: compareCommand,
  report: reportCommand,
  angles: anglesCommand,
  landscape: landscapeCommand,
  gap: gapCommand,
  shift: shiftCommand,
  inspect: inspectCommand,
  diff: diffCommand,
  verify: verifyCommand,
  devices: devicesCommand,
  completion: completionCommand,
};

/** The command line, without its process: parses, runs, and sets process.exitCode. */
export async function main(args: readonly string[]): Promise<void> {
  const json = args.includes('--json');
  const program = new Command('stockpot')
    .description('Model soups: average the weights of many fine-tuned checkpoints.')
    .version(version)
    .showHelpAfterError('(add --help for the options)')
    .exitOverride();
  // Errors of usage become JSON too where that was asked for.
  if (json) program.configureOutput({ writeErr: () => {} });
  for (const [name, build] of Object.entries(COMMANDS)) {
    addCommonOptions(build(program.command(name))).copyInheritedSettings(program);
  }
  try {
    const [name = '', ...rest] = args;
    const command = program.commands.find((c) => c.name() === name);
    const all = command ? [name, ...keepOperands(rest, command)] : [...args];
    await program.parseAsync(all, { from: 'user' });
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    // --help and --version arrive here too, with exit code 0. Commander has printed usage errors itself.
    process.exitCode = error.exitCode === 0 ? EXIT.done : EXIT.usage;
    if (process.exitCode !== EXIT.done && json) reportFailure(error, true);
  }
}
