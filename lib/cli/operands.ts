import type { Command } from 'commander';

/** Data of which several files make one set. */
const FILES = /\.(tar|tsv|csv|jsonl|parquet)$/i;

/**
 * `evaluate --data D MODEL`: an option that takes several paths would take the models too. Where no argument stands before
 * the options, such an option takes one path, and further ones only while they are files of data.
 * @param args of a command, without its name
 */
export function keepOperands(args: readonly string[], command: Command): string[] {
  if (args[0] === undefined || !args[0].startsWith('-')) return [...args];
  const several = new Set(command.options.filter((o) => o.variadic).map((o) => o.long));
  const out: string[] = [];
  for (let i = 0; i < args.length; i++) {
    const arg = args[i] as string;
    if (arg === '--') return [...out, ...args.slice(i)];
    const value = args[i + 1];
    if (!several.has(arg) || value === undefined) {
      out.push(arg);
      continue;
    }
    out.push(`${arg}=${value}`);
    i++;
    for (; FILES.test(value) && FILES.test(args[i + 1] ?? ''); i++)
      out.push(`${arg}=${args[i + 1]}`);
  }
  return out;
}
