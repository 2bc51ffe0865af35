import type { Command } from 'commander';
import { devices } from '../devices.js';
import { type CommonOptions, runCommand } from './run.js';

export function devicesCommand(command: Command): Command {
  command
    .description('show what stockpot can compute on here, and why not on the rest')
    .action((options: CommonOptions) =>
      runCommand(options, async () => {
        const found = devices();
        const lines = found.devices.map((d) =>
          !d.usable
            ? `${d.name}: not usable: ${d.reason}`
            : d.kernels
              ? `${d.name}: ${d.description}, ${d.threads} threads, averaging kernel ${d.kernels[0]} (also: ${d.kernels.slice(1).join(', ')})`
              : `${d.name}: ${d.description}${d.note ? `; ${d.note}` : ''}`,
        );
        return { json: found, lines };
      }),
    );
  return command;
}
