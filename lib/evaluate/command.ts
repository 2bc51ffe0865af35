import { createHash } from 'node:crypto';
import { isObject } from '../checkpoint/json.js';
import { type Mismatch, StockpotError } from '../errors.js';
import type { FunctionResult, WholeEvaluator } from './evaluator.js';
import { METRICS, type Metric } from './metrics.js';
import { type GroupResult, runGroup } from './process_group.js';

/** Longest last line: logits of a million examples and 16 classes fit. */
const LONGEST_LINE = 256 * 2 ** 20;
/** Bytes of stderr, and lines of it, that an error shows. */
const STDERR_BYTES = 16384;
const STDERR_LINES = 20;

/** How a program that evaluates soups is run. */
export interface CommandOptions {
  /** Seconds that one evaluation may take; without end by default. */
  timeout?: number;
  /** Of the examples that the program gives logits for. */
  labels?: Int32Array;
  /** For tests: the longest last line. */
  longestLine?: number;
}

/**
 * An evaluator that is any program: the shell runs the command with `{soup}` replaced by the path of a temporary folder
 * that holds the candidate, as a soup is saved. The last line of its stdout says how good the soup is: a number, or JSON
 * `{ loss, metrics: { accuracy, f1, … }, logits: [[…], …] }`. The program finds β in STOCKPOT_BETA.
 * @throws StockpotError USAGE for a command without {soup}, or a time-out that is no positive number
 */
export function commandEvaluator(command: string, options: CommandOptions = {}): WholeEvaluator {
  if (typeof command !== 'string' || !command.includes('{soup}')) {
    throw new StockpotError(
      'USAGE',
      `expected a command with {soup} in it but received "${command}"`,
      {
        remedy:
          "Write {soup} where the candidate's folder goes: --evaluate 'python eval.py {soup}'.",
      },
    );
  }
  const { timeout, labels } = options;
  if (timeout !== undefined && !(timeout > 0 && timeout < 2 ** 31 / 1000)) {
    throw new StockpotError(
      'USAGE',
      `expected the time-out to be a number of seconds but received ${timeout}`,
    );
  }
  return {
    id: createHash('sha256').update(`command ${command}`).digest('hex'),
    labels,
    evaluate: (soup, { beta, signal }) =>
      soup.inFolder(async (folder) => {
        const line = new LastLine(options.longestLine ?? LONGEST_LINE);
        const errors = new Tail(STDERR_BYTES);
        const result = await runGroup(command.replaceAll('{soup}', quoted(folder)), {
          env: { ...process.env, STOCKPOT_SOUP: folder, STOCKPOT_BETA: String(beta) },
          timeout: timeout === undefined ? undefined : timeout * 1000,
          signal,
          onStdout: (chunk) => line.add(chunk),
          onStderr: (chunk) => errors.add(chunk),
        });
        if (result.ended === 'aborted') throw new StockpotError('ABORTED', 'aborted');
        const wrong = problemOf(result, options);
        if (wrong) throw failed(command, wrong, errors);
        const given = readLine(line.text());
        if (typeof given === 'string') throw failed(command, given, errors);
        return given;
      }),
  };
}

/** A path as one word of the shell. */
const quoted = (path: string): string => `'${path.replaceAll("'", "'\\''")}'`;

function problemOf({ code, signal, ended }: GroupResult, o: CommandOptions): string | undefined {
  if (ended === 'timeout') return `did not end within ${o.timeout} s and was ended`;
  if (ended === 'refused')
    return `wrote a line of more than ${o.longestLine ?? LONGEST_LINE} bytes and was ended`;
  if (signal) return `was ended by ${signal}`;
  if (code !== 0) return `ended with exit code ${code}`;
  return undefined;
}

function failed(command: string, wrong: string, errors: Tail): StockpotError {
  const lines = errors
    .text()
    .split('\n')
    .filter((l) => l.trim() !== '')
    .slice(-STDERR_LINES);
  const message = `the evaluation "${command}" ${wrong}`;
  const details: Mismatch[] = [message, ...lines].map((m) => ({ message: m }));
  return new StockpotError('EVALUATOR', message, {
    details,
    remedy:
      'The last line of its stdout must be a number or JSON such as {"metrics": {"accuracy": 0.9}}; run it by hand on a soup to see what it does.',
  });
}

/** The end of what a program says. */
class Tail {
  private held = Buffer.alloc(0);
  constructor(private readonly bytes: number) {}

  add(chunk: Buffer): void {
    this.held = Buffer.concat([this.held, chunk]).subarray(-this.bytes);
  }

  text(): string {
    return this.held.toString('utf8');
  }
}

/** The last line that is not empty; what comes before it is dropped as it comes. */
class LastLine {
  private parts: Buffer[] = [];
  private bytes = 0;
  private last: Buffer = Buffer.alloc(0);
  constructor(private readonly longest: number) {}

  /** @throws RangeError where a line is too long */
  add(chunk: Buffer): void {
    let from = 0;
    for (let end = chunk.indexOf(10); end >= 0; end = chunk.indexOf(10, from)) {
      this.hold(chunk.subarray(from, end));
      this.finish();
      from = end + 1;
    }
    this.hold(chunk.subarray(from));
  }

  text(): string {
    this.finish();
    return this.last.toString('utf8').trim();
  }

  private hold(part: Buffer): void {
    this.bytes += part.length;
    if (this.bytes > this.longest) throw new RangeError('the line is too long');
    if (part.length > 0) this.parts.push(part);
  }

  private finish(): void {
    const [first] = this.parts;
    const line = this.parts.length === 1 && first ? first : Buffer.concat(this.parts);
    // Not only spaces (9 to 13, and 32).
    if (line.some((byte) => byte > 32)) this.last = line;
    this.parts = [];
    this.bytes = 0;
  }
}

/** What a line says, or what is wrong with it. */
function readLine(line: string): FunctionResult | string {
  const show = line.length > 80 ? `${line.slice(0, 80)}…` : line;
  if (line === '') return 'wrote nothing to stdout';
  const number = readNumber(line);
  if (number !== undefined) return number;
  let value: unknown;
  try {
    // Python's json writes what JSON has not.
    value = JSON.parse(line.replace(/(?<=[:[,\s])(NaN|-?Infinity)(?=\s*[,\]}])/g, '"$1"'));
  } catch {
    return `wrote ${JSON.stringify(show)}, which is no number and no JSON`;
  }
  if (!isObject(value)) return `wrote ${JSON.stringify(show)}, expected a number or a JSON object`;
  return readObject(value);
}

function readNumber(x: unknown): number | undefined {
  if (typeof x === 'number') return x;
  if (typeof x !== 'string') return undefined;
  const word = /^([+-]?)(nan|inf|infinity)$/i.exec(x);
  if (word) {
    if (word[2]?.toLowerCase() === 'nan') return Number.NaN;
    return word[1] === '-' ? Number.NEGATIVE_INFINITY : Number.POSITIVE_INFINITY;
  }
  return /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i.test(x) ? Number(x) : undefined;
}

function readObject(o: Record<string, unknown>): FunctionResult | string {
  const metrics: Partial<Record<Metric, number>> = {};
  const named = isObject(o.metrics) ? { ...o, ...o.metrics } : o;
  for (const metric of METRICS) {
    if (named[metric] === undefined) continue;
    const x = readNumber(named[metric]);
    if (x === undefined)
      return `gave ${metric} as ${JSON.stringify(named[metric])}, expected a number`;
    metrics[metric] = x;
  }
  const { loss, ...others } = metrics;
  const result: Exclude<FunctionResult, number> = { metrics: others };
  if (loss !== undefined) result.loss = loss;
  if (o.logits === undefined) return result;
  const rows: unknown = o.logits;
  const bad = `gave logits that are no rows of numbers`;
  if (!Array.isArray(rows) || !rows.every((row): row is unknown[] => Array.isArray(row)))
    return bad;
  const logits = rows.map((row) => row.map(readNumber));
  const classes = rows[0]?.length;
  if (!logits.every((row): row is number[] => row.length === classes && !row.includes(undefined)))
    return bad;
  return { ...result, logits };
}
