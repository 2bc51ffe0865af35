import { readFile, stat } from 'node:fs/promises';
import { isObject } from '../checkpoint/json.js';
import { fileError } from '../checkpoint/system_error.js';
import { StockpotError } from '../errors.js';
import { version } from '../version.js';
import { comparisonShape } from './compare/shape.js';
import type { Comparison, MethodResult } from './compare/types.js';
import type { AnglesInput, GapInput, LandscapeInput, LineInput } from './report/inputs.js';
import { count, list, number, object, orNull, record, type Shape, text } from './shape.js';

/** What analyses found, by their names: what `-o run.json` writes and `report` shows. */
export interface Sections {
  compare?: Comparison;
  angles?: AnglesInput;
  landscape?: LandscapeInput;
  line?: LineInput;
  gap?: GapInput;
}

/** The document of `compare -o`, as it lies on disk. */
export interface RunFile {
  /** Version that wrote it. */
  stockpot: string;
  sections: Sections;
}

const MOST_BYTES = 256 * 2 ** 20;

/** The text of a run file. JSON has no NaN: it is written as null. */
export const showRun = (sections: Sections): string =>
  `${JSON.stringify({ stockpot: version, sections } satisfies RunFile)}\n`;

const scored = { accuracy: number, loss: number };

const SHAPES: Record<keyof Sections, Shape> = {
  compare: comparisonShape,
  angles: object({
    ingredients: list(text),
    pairs: orNull(
      list(object({ a: count, b: count, angle: number, gain: number, meanAccuracy: number })),
    ),
    correlation: number,
  }),
  landscape: object({
    checkpoints: list(text),
    x: list(number),
    y: list(number),
    points: list(object({ x: number, y: number, ...scored })),
    marks: list(object({ model: text, role: text, x: number, y: number, ...scored })),
  }),
  line: object({
    checkpoints: list(text),
    points: list(object({ alpha: number, scores: record(object(scored)) })),
  }),
  gap: object({
    ingredients: list(text),
    points: list(
      object({
        a: count,
        b: count,
        alpha: number,
        beta: number,
        predicted: number,
        measured: number,
      }),
    ),
    correlation: number,
    meanError: number,
  }),
};

/**
 * Reads what `compare`, `angles`, `landscape` or `gap` wrote: a run file, or the one object that their --json prints.
 * @throws StockpotError NOT_FOUND, IO, FORMAT
 */
export async function readRun(path: string): Promise<RunFile> {
  const bad = (message: string, cause?: unknown) =>
    new StockpotError('FORMAT', `${path}: ${message}`, {
      file: path,
      cause,
      remedy: 'Expected a run: what `stockpot compare … -o run.json` writes.',
    });
  const source = await stat(path)
    .then(({ size }) => {
      if (size > MOST_BYTES) throw bad(`is too large for a run (${size} bytes)`);
      return readFile(path, 'utf8');
    })
    .catch((cause) => {
      throw cause instanceof StockpotError ? cause : fileError(path, cause);
    });
  let value: unknown;
  try {
    value = JSON.parse(source);
  } catch (cause) {
    throw bad('is not JSON', cause);
  }
  if (!isObject(value)) throw bad('is no JSON object');
  const sections = isObject(value.sections) ? value.sections : guess(value);
  const known = Object.keys(SHAPES).filter((name) => Object.hasOwn(sections, name));
  if (known.length === 0) throw bad('is not what an analysis writes');
  for (const name of known as (keyof Sections)[]) {
    const wrong =
      SHAPES[name](sections[name], `sections.${name}`) ??
      (name === 'compare' ? inconsistency(sections[name] as Comparison) : null);
    if (wrong) throw bad(`is no run that can be shown: ${wrong}`);
  }
  return {
    stockpot: typeof value.stockpot === 'string' ? value.stockpot : 'unknown',
    sections: Object.fromEntries(known.map((name) => [name, sections[name]])) as Sections,
  };
}

/** Which analysis printed an object. */
function guess(value: Record<string, unknown>): Record<string, unknown> {
  if ('methods' in value && 'reference' in value) {
    // With --all, the other analyses lie beside it.
    const { angles, landscape, line, gap } = value;
    const others = Object.entries({ angles, landscape, line, gap }).filter(([, v]) => isObject(v));
    return { compare: value, ...Object.fromEntries(others) };
  }
  if ('marks' in value) return { landscape: value };
  if ('distances' in value) return { angles: value };
  if ('meanError' in value) return { gap: value };
  if ('checkpoints' in value && 'points' in value) return { line: value };
  return {};
}

/** What shapes do not see: names and positions that lead nowhere. */
function inconsistency(c: Comparison): string | null {
  const k = c.ingredients.length;
  if (c.sets.length === 0) return 'there is no set';
  if (!c.methods.some((m) => m.id === c.reference)) return `there is no method "${c.reference}"`;
  const incomplete = (m: MethodResult) => c.sets.some((s) => !Object.hasOwn(m.sets, s.name));
  const lacking = c.methods.find(incomplete);
  if (lacking) return `method "${lacking.id}" lacks a set`;
  const astray = c.methods.find((m) => m.members.some((i) => i >= k));
  if (astray) return `method "${astray.id}" has a member that is no ingredient`;
  const names = c.sets.map((s) => s.name);
  const short = c.curve.find((p) =>
    [p.uniform, p.greedy, p.ensemble, p.soupMinusEnsemble].some((of) =>
      names.some((name) => !Object.hasOwn(of, name)),
    ),
  );
  return short ? `the curve at ${short.n} lacks a set` : null;
}
