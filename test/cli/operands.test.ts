import { Command } from 'commander';
import { describe, expect, it } from 'vitest';
import { keepOperands } from '../../lib/cli/operands.js';

const command = new Command('evaluate').option('--data <path...>').option('--key <name>');
const kept = (line: string) => keepOperands(line.split(' '), command).join(' ');

describe('options that take several paths', () => {
  it('take one where the models come after, and further ones that are files of data', () => {
    expect(kept('--data d a b')).toBe('--data=d a b');
    expect(kept('--json --data d/ a --key x b')).toBe('--json --data=d/ a --key x b');
    expect(kept('--data 0.tar 1.TAR a')).toBe('--data=0.tar --data=1.TAR a');
    expect(kept('--data d.safetensors a.safetensors')).toBe('--data=d.safetensors a.safetensors');
  });

  it('take all that follow where a model stands before the options', () => {
    for (const line of [
      'a --data d e',
      'a b --json --data d e f',
      '--data=d a',
      '--data',
      '-- --data d',
    ])
      expect(kept(line)).toBe(line);
  });

  it('are read by the command line so', () => {
    const read = new Command()
      .argument('<model...>')
      .option('--data <path...>')
      .parse(keepOperands(['--data', '0.csv', '1.csv', 'a', 'b'], command), { from: 'user' });
    expect(read.args).toEqual(['a', 'b']);
    expect(read.opts()).toEqual({ data: ['0.csv', '1.csv'] });
  });
});
