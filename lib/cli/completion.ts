import { Argument, type Command, type Option } from 'commander';
import { type CommonOptions, runCommand } from './run.js';

const SHELLS = ['bash', 'zsh', 'fish'] as const;
type Shell = (typeof SHELLS)[number];

interface Completed {
  name: string;
  description: string;
  options: readonly Option[];
}

/** What can be completed, from commander's own tables. */
const commandsOf = (program: Command): Completed[] =>
  program.commands.map((command) => ({
    name: command.name(),
    description: command.description().split('\n')[0] as string,
    options: command.createHelp().visibleOptions(command),
  }));

const flagsOf = ({ long, short }: Option): string[] => [long, short].filter((f) => f !== undefined);

/** A word or text that the shell takes as it is. */
const quoted = (text: string): string => `'${text.replaceAll("'", "'\\''")}'`;

function bash(commands: readonly Completed[]): string {
  const names = commands.map((c) => c.name);
  const values = commands.flatMap(({ name, options }) =>
    options
      .filter((o) => o.argChoices !== undefined)
      .map(
        (o) =>
          `    ${flagsOf(o)
            .map((f) => quoted(`${name} ${f}`))
            .join('|')}) words=${quoted((o.argChoices as string[]).join(' '))} ;;`,
      ),
  );
  const flags = commands.map(
    ({ name, options }) => `      ${name}) words=${quoted(options.flatMap(flagsOf).join(' '))} ;;`,
  );
  return `# bash completion of stockpot: eval "$(stockpot completion bash)"
_stockpot() {
  local cur=\${COMP_WORDS[COMP_CWORD]} previous=\${COMP_WORDS[COMP_CWORD-1]} command=\${COMP_WORDS[1]} words=
  if [ "$COMP_CWORD" -eq 1 ]; then
    words=${quoted([...names, '--help', '--version'].join(' '))}
  else
    case "$command $previous" in
${values.join('\n')}
    'completion completion') words=${quoted(SHELLS.join(' '))} ;;
    esac
    if [ -z "$words" ] && [ "\${cur#-}" != "$cur" ]; then
      case $command in
${flags.join('\n')}
      esac
    fi
  fi
  # Where there are no words, files are completed.
  COMPREPLY=($(compgen -W "$words" -- "$cur"))
}
complete -o bashdefault -o default -F _stockpot stockpot
`;
}

function zsh(commands: readonly Completed[]): string {
  // Colons and brackets have a meaning in _arguments.
  const plain = (text: string) => text.replace(/[[\]:\\]/g, '\\$&');
  const spec = (o: Option) => {
    const value = o.argChoices ? `(${o.argChoices.join(' ')})` : '_files';
    const taken = o.required || o.optional ? `:${plain(o.attributeName())}:${value}` : '';
    return flagsOf(o).map((f) => quoted(`*${f}[${plain(o.description)}]${taken}`));
  };
  const cases = commands.map(({ name, options }) => {
    const rest = name === 'completion' ? `:shell:(${SHELLS.join(' ')})` : '*:ingredient:_files';
    const all = [...options.flatMap(spec), quoted(rest)];
    return `    ${name})\n      _arguments ${all.join(' \\\n        ')} ;;`;
  });
  const described = commands.map((c) => `    ${quoted(`${c.name}:${plain(c.description)}`)}`);
  return `#compdef stockpot
# zsh completion of stockpot: eval "$(stockpot completion zsh)" after compinit, or as the file _stockpot in $fpath.
_stockpot() {
  local -a commands=(
${described.join('\n')}
  )
  if (( CURRENT == 2 )); then
    _describe command commands
    return
  fi
  local command=$words[2]
  shift words
  (( CURRENT-- ))
  case $command in
${cases.join('\n')}
  esac
}
if [ "$funcstack[1]" = _stockpot ]; then _stockpot "$@"; else compdef _stockpot stockpot; fi
`;
}

function fish(commands: readonly Completed[]): string {
  const line = (...parts: string[]) => ['complete -c stockpot', ...parts].join(' ');
  const lines = commands.flatMap(({ name, description, options }) => [
    line('-n __fish_use_subcommand', '-f', `-a ${name}`, `-d ${quoted(description)}`),
    ...options.map((o) => {
      const value = o.argChoices
        ? `-xa ${quoted(o.argChoices.join(' '))}`
        : o.required || o.optional
          ? '-r'
          : '';
      return line(
        `-n '__fish_seen_subcommand_from ${name}'`,
        ...(o.long ? [`-l ${o.long.slice(2)}`] : []),
        ...(o.short ? [`-s ${o.short.slice(1)}`] : []),
        `-d ${quoted(o.description)}`,
        value,
      ).trimEnd();
    }),
  ]);
  const shells = line("-n '__fish_seen_subcommand_from completion'", `-fa '${SHELLS.join(' ')}'`);
  return `# fish completion of stockpot: stockpot completion fish | source\n${[...lines, shells].join('\n')}\n`;
}

const SCRIPTS: Record<Shell, (commands: readonly Completed[]) => string> = { bash, zsh, fish };

/** `stockpot completion SHELL`: a script that completes commands, options and their values. */
export function completionCommand(command: Command): Command {
  return command
    .description('print a script that completes commands, options and their values')
    .addArgument(new Argument('<shell>', 'the shell').choices(SHELLS))
    .action((shell: Shell, options: CommonOptions) =>
      runCommand(options, async () => {
        const script = SCRIPTS[shell](commandsOf(command.parent as Command));
        return { json: { shell, script }, lines: script.trimEnd().split('\n') };
      }),
    );
}
