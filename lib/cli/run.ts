import { type Command, CommanderError, Option } from 'commander';
import { chooseDevice } from '../cuda.js';
import { StockpotError } from '../errors.js';
import type { RunOptions } from '../progress.js';
import { parseCount, parseSize } from './parse.js';
import { ProgressDisplay } from './progress.js';

export const EXIT = { done: 0, failed: 1, usage: 2, interrupted: 130 } as const;

/** What every command takes. */
export interface CommonOptions {
  json?: boolean;
  quiet?: boolean;
  device: string;
  threads?: number;
  memory?: number;
  dryRun?: boolean;
}

export function addCommonOptions(command: Command): Command {
  return command
    .addOption(new Option('--json', 'print exactly one JSON object on stdout'))
    .addOption(new Option('--quiet', 'print no progress, warnings or notes'))
    .addOption(
      new Option(
        '--device <name>',
        'auto, cpu, cuda or cuda:N; a named device never falls back',
      ).default('auto'),
    )
    .addOption(
      new Option('--threads <n>', 'worker threads (default: one a processor)').argParser(
        parseCount,
      ),
    )
    .addOption(
      new Option(
        '--memory <size>',
        'how much the run may hold: buffers (default: 128MiB), network and data (default: what there is)',
      ).argParser(parseSize),
    )
    .addOption(new Option('--dry-run', 'print the plan and write nothing'));
}

/** What a command gives back: an object for --json, and lines for a person. */
export interface Outcome {
  json: object;
  lines: readonly string[];
  warnings?: readonly string[];
  notes?: readonly string[];
  /** Default: done. */
  exit?: number;
}

/** Replaces numbers that JSON has not (Infinity, NaN) by null. */
const toJson = (value: object): string =>
  JSON.stringify(value, (_, v) => (typeof v === 'number' && !Number.isFinite(v) ? null : v));

/**
 * Runs a command's work with progress, Ctrl-C, JSON and exit codes as the contract has them. Sets process.exitCode, so
 * that output is flushed.
 */
export async function runCommand(
  options: CommonOptions,
  work: (run: RunOptions) => Promise<Outcome>,
): Promise<void> {
  const display = new ProgressDisplay();
  const stop = new AbortController();
  let interrupts = 0;
  const interrupt = () => {
    stop.abort();
    // The second one, from a user who does not want to wait: what is half-written is still removed.
    if (++interrupts > 1) process.exit(EXIT.interrupted);
  };
  process.on('SIGINT', interrupt).on('SIGTERM', interrupt).on('SIGHUP', interrupt);
  try {
    // ONNX Runtime has devices of its own; the soups that its graphs run are mixed on the processor.
    const forGraph = (options as { graph?: string }).graph !== undefined;
    if (!forGraph) chooseDevice(options.device);
    const outcome = await work({
      signal: stop.signal,
      threads: options.threads,
      memory: options.memory,
      device: forGraph ? undefined : options.device,
      onProgress: options.quiet ? undefined : display.update,
    });
    display.stop();
    if (!options.quiet) {
      for (const note of outcome.notes ?? []) process.stderr.write(`note: ${visible(note)}\n`);
      for (const warning of outcome.warnings ?? [])
        process.stderr.write(`warning: ${visible(warning)}\n`);
    }
    process.stdout.write(
      options.json
        ? `${toJson(outcome.json)}\n`
        : `${outcome.lines.map((line) => `${visible(line)}\n`).join('')}`,
    );
    process.exitCode = outcome.exit ?? EXIT.done;
  } catch (error) {
    display.stop();
    reportFailure(error, options.json === true);
  } finally {
    process.off('SIGINT', interrupt).off('SIGTERM', interrupt).off('SIGHUP', interrupt);
  }
}

/** Makes control characters of names visible: a line stays a line, and nothing commands the terminal. */
const visible = (text: string): string =>
  text.replace(/\p{Cc}/gu, (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`);

/** Prints a failure: the reason, a line a further mismatch, what to do; as JSON on stdout where asked. */
export function reportFailure(error: unknown, json: boolean): void {
  const e = error instanceof StockpotError ? error : undefined;
  const code = e?.code ?? (error instanceof CommanderError ? 'USAGE' : 'INTERNAL');
  const message = (error instanceof Error ? error.message : String(error)).replace(/^error: /, '');
  if (json) {
    const body = {
      code,
      message,
      file: e?.file ?? null,
      tensor: e?.tensor ?? null,
      details: e?.details ?? [],
    };
    process.stdout.write(
      `${toJson({ error: e?.remedy ? { ...body, remedy: e.remedy } : body })}\n`,
    );
  } else {
    const further = (e?.details ?? []).slice(1).map((d) => {
      const tensor = d.tensor === undefined ? '' : `tensor "${d.tensor}" `;
      return `${d.file === undefined ? '' : `${d.file}: `}${tensor}${d.message}`;
    });
    const lines = [`stockpot: ${message}`, ...further, ...(e?.remedy ? [e.remedy] : [])];
    process.stderr.write(`${lines.map(visible).join('\n')}\n`);
  }
  process.exitCode =
    code === 'ABORTED' ? EXIT.interrupted : code === 'USAGE' ? EXIT.usage : EXIT.failed;
}
