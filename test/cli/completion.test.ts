// What the shells complete with our scripts.
import { spawnSync } from 'node:child_process';
import { describe, expect, it } from 'vitest';
import { jsonOf, stockpot } from '../helpers/cli.js';

const scriptOf = async (shell: string): Promise<string> =>
  jsonOf(await stockpot(['completion', shell, '--json'])).script;

const has = (shell: string) => spawnSync(shell, ['--version']).status === 0;

/** Runs a program of a shell and gives its words. */
function words(shell: string, args: readonly string[], program: string): string[] {
  const r = spawnSync(shell, [...args, program], { encoding: 'utf8', timeout: 60_000 });
  expect(r.stderr).toBe('');
  return r.stdout.split(/\s+/).filter((w) => w !== '');
}

type Complete = (script: string, line: string) => string[];

const completers: Record<string, Complete> = {
  bash: (script, line) => {
    const typed = line.split(' ').map((w) => `'${w}'`);
    return words(
      'bash',
      ['--norc', '-c'],
      `${script}\nCOMP_WORDS=(${typed.join(' ')}); COMP_CWORD=${typed.length - 1}; _stockpot; printf '%s\\n' "\${COMPREPLY[@]}"`,
    );
  },
  // zsh completes only at a terminal. What our function tells zsh's own: commands, specifications of options.
  zsh: (script, line) => {
    const typed = line.split(' ').map((w) => `'${w}'`);
    const program = `
      compdef() { :; }
      _describe() { print -l -- \${(P)2}; }
      _arguments() { print -l -- "$@"; }
      ${script}
      words=(${typed.join(' ')}); CURRENT=${typed.length}; _stockpot`;
    const told = words('zsh', ['-f', '-c'], program);
    return told.flatMap((w) => w.replace(/^\*/, '').split(/[[:()]/));
  },
  fish: (script, line) => {
    const asked = `${script}\ncomplete -C '${line}' | string split -f1 \\t`;
    return words('fish', ['--no-config', '-c'], asked);
  },
};

describe.each(Object.entries(completers))('%s', (shell, complete) => {
  it.skipIf(!has(shell))('completes commands, options and values', async () => {
    const script = await scriptOf(shell);
    expect(complete(script, 'stockpot ')).toEqual(
      expect.arrayContaining(['uniform', 'greedy', 'devices', 'completion']),
    );
    const options = complete(script, 'stockpot greedy --');
    expect(options).toEqual(expect.arrayContaining(['--data', '--accept', '--json', '--help']));
    expect(options).not.toContain('--parametrisation');
    const values = complete(script, 'stockpot learned --by ');
    expect(values).toEqual(expect.arrayContaining(['model', 'layer', 'tensor']));
    const shells = complete(script, 'stockpot completion ');
    expect(shells).toEqual(expect.arrayContaining(['bash', 'zsh', 'fish']));
  });
});

it('refuses a shell that it does not know', async () => {
  const { code, stderr } = await stockpot(['completion', 'tcsh']);
  expect(code).toBe(2);
  expect(stderr).toContain('bash, zsh, fish');
});
