import { join } from 'node:path';
import { TemporaryFolder } from '../checkpoint/unfinished.js';
import { StockpotError } from '../errors.js';
import type { Evaluator } from '../evaluate/evaluator.js';
import { NativeEvaluator } from '../evaluate/native_evaluator.js';
import { type EvaluationOptions, Session } from '../evaluate/session.js';
import { uniform } from '../recipes/uniform.js';
import { angles } from './angles.js';
import { type CompareOptions, compare } from './compare/index.js';
import type { Comparison } from './compare/types.js';
import { gap } from './gap.js';
import { landscape } from './landscape.js';
import { line } from './line.js';
import type { Sections } from './run_file.js';

/** Of data that is read from files. */
type Paths = string | readonly string[];

/** As of compare, and of the analyses that run beside it. */
export interface EverythingOptions extends CompareOptions {
  data: Paths;
  test?: Paths;
  shifted?: Readonly<Record<string, Paths>>;
  /** Points of the landscape a side; 11 by default. */
  grid?: number;
}

/** Ingredients whose pairs the analytical expression is tried on: the best ones, as each pair is run three times. */
const GAP_INGREDIENTS = 5;

/** Points on a plane or a line are evaluated as they are, not rounded to 16 bits. */
const DTYPE = 'f32';

/**
 * All that the paper shows, for one report: the comparison; angles of all pairs and what their averages gain; loss and
 * accuracy in the plane through the base and the two best ingredients; the line from the base to the greedy soup; soup
 * against ensemble, analytically, for pairs of the best ingredients. Where no base is named, what needs one is left out.
 * @param ingredients paths; at least two for more than the comparison
 * @throws StockpotError NOT_FOUND, IO, FORMAT, UNSUPPORTED for what cannot be read; MISMATCH where model and data do not fit
 *   together; NONFINITE, OVERFLOW, CHANGED; MEMORY, DEVICE, NATIVE; USAGE; ABORTED
 */
export async function everything(
  ingredients: readonly string[],
  options: EverythingOptions,
): Promise<Required<Pick<Sections, 'compare'>> & Sections> {
  const compared = await compare(ingredients, options);
  if (ingredients.length < 2) return { compare: compared };
  const held: EvaluationOptions = { ...options, data: options.data };
  const sections: Required<Pick<Sections, 'compare'>> & Sections = { compare: compared };
  sections.angles = await withSession(ingredients, held, (evaluator, session) =>
    angles(session.checkpoints, { ...options, by: 'model', evaluator }),
  );
  const best = compared.order.map((i) => ingredients[i] as string);
  const few = best.slice(0, GAP_INGREDIENTS);
  sections.gap = await withSession(few, { ...held, dtype: DTYPE }, (evaluator, session) =>
    gap(session.checkpoints, { ...options, dtype: DTYPE, evaluator }),
  );
  const { base } = options;
  if (typeof base !== 'string') {
    compared.notes.push('Landscape, line and angles need the base: name it with --base.');
    return sections;
  }
  const folder = await TemporaryFolder.make('analyses');
  try {
    const soup = await greedySoupOf(compared, ingredients, folder.path, options);
    const plane = [base, ...best.slice(0, 2)];
    sections.landscape = await withSession(
      [...plane, soup],
      { ...held, dtype: DTYPE },
      (evaluator, session) =>
        landscape(session.checkpoints.slice(0, 3), {
          ...options,
          dtype: DTYPE,
          evaluator,
          soups: session.checkpoints.slice(3),
        }),
    ).catch((e) => {
      // Two ingredients that are the same, or a base that is one: there is no plane.
      if (!(e instanceof StockpotError && e.code === 'MISMATCH')) throw e;
      compared.notes.push(`There is no landscape: ${e.message}`);
      return undefined;
    });
    for (const mark of sections.landscape?.marks ?? [])
      if (mark.model === soup) mark.model = GREEDY;
    sections.line = await lineOf([base, soup], options);
    sections.line.checkpoints = [base, GREEDY];
    return sections;
  } finally {
    await folder.remove();
  }
}

const GREEDY = 'greedy soup';

async function withSession<T>(
  models: readonly string[],
  options: EvaluationOptions,
  work: (evaluator: NativeEvaluator, session: Session) => Promise<T>,
): Promise<T> {
  const session = await Session.open(models, options);
  try {
    return await work(new NativeEvaluator(session), session);
  } finally {
    await session.close();
  }
}

/** The greedy soup of the comparison, in float32. @returns its path */
async function greedySoupOf(
  { methods }: Comparison,
  ingredients: readonly string[],
  folder: string,
  options: EverythingOptions,
): Promise<string> {
  const greedy = methods.find((m) => m.kind === 'greedy');
  const path = join(folder, 'greedy-soup.safetensors');
  const { signal, threads, memory, include, exclude, key } = options;
  const weights = greedy?.weights ?? undefined;
  await uniform(ingredients, path, {
    ...{ signal, threads, memory, include, exclude, key },
    weights,
    dtype: DTYPE,
  });
  return path;
}

/** On the test set (else the held-out one) and the shifted sets. */
async function lineOf(ends: readonly string[], options: EverythingOptions) {
  const { test, data, shifted = {} } = options;
  const sets: [string, Paths][] = [
    test === undefined ? ['heldout', data] : ['test', test],
    ...Object.entries(shifted),
  ];
  const sessions: Session[] = [];
  const evaluators = new Map<string, Evaluator>();
  try {
    for (const [name, path] of sets) {
      const models = sessions[0]?.checkpoints ?? ends;
      const session = await Session.open(models, { ...options, data: path, dtype: DTYPE });
      sessions.push(session);
      evaluators.set(name, new NativeEvaluator(session));
    }
    const { signal, onProgress, threads, memory, key } = options;
    return await line(sessions[0]?.checkpoints ?? [], {
      ...{ signal, onProgress, threads, memory, key },
      evaluators,
      dtype: DTYPE,
    });
  } finally {
    for (const s of sessions) await s.close();
  }
}
