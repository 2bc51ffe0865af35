import { mkdir, stat } from 'node:fs/promises';
import { dirname, extname, isAbsolute, join } from 'node:path';
import { openCheckpoint } from '../../checkpoint/open.js';
import { readRecord, type SoupRecord } from '../../checkpoint/record.js';
import type { Checkpoint } from '../../checkpoint/types.js';
import { StockpotError } from '../../errors.js';
import { type CompareOptions, compare } from '../compare/index.js';
import { readRun, type Sections, showRun } from '../run_file.js';
import { checkTextOutput, writeText } from '../write_text.js';
import { figuresOf, firstFigure, type ReportInput, sectionsOf } from './content.js';
import { type Figure, toCsv } from './figure.js';
import { pageOf } from './page.js';
import { loadRenderer } from './render.js';
import { withLightColours } from './theme.js';

export const REPORT_FORMATS = ['html', 'json', 'csv', 'svg'] as const;
/** What a report is written as. */
export type ReportFormat = (typeof REPORT_FORMATS)[number];

/** How a report is written; for a soup also the data that it is measured on. */
export interface ReportOptions extends Omit<CompareOptions, 'data' | 'soups' | 'recipes'> {
  /** By default what the output's name says, else html. */
  format?: ReportFormat;
  /** With csv and svg: this figure alone, into one file. */
  figure?: string;
  overwrite?: boolean;
  /** Make it, and write nothing. */
  dryRun?: boolean;
  /** For a soup: the held-out set to measure it and its ingredients on. */
  data?: CompareOptions['data'];
}

/** What was written. */
export interface Report {
  /** As given. */
  inputs: string[];
  output: string;
  format: ReportFormat;
  /** Files that were written. */
  files: string[];
  /** Names of the figures. */
  figures: string[];
  /** Of all files together. */
  bytes: number;
  notes: string[];
}

/**
 * Writes what analyses found as one document: self-contained HTML, or its data (json), or its figures' numbers (csv) or
 * pictures (svg).
 * @param inputs runs (JSON that `compare` and other analyses wrote; several are put together), or one soup
 * @param output a file; for csv and svg without `figure`, a folder with a file a figure
 * @throws StockpotError NOT_FOUND, IO, FORMAT for runs and soups that cannot be read; OUTPUT, NO_SPACE; USAGE; ABORTED
 */
export async function report(
  inputs: string | readonly string[],
  output: string,
  options: ReportOptions = {},
): Promise<Report> {
  const paths = typeof inputs === 'string' ? [inputs] : [...inputs];
  const format = options.format ?? formatOf(output);
  const into = { overwrite: options.overwrite, inputs: paths };
  const folder = (format === 'csv' || format === 'svg') && options.figure === undefined;
  if (!folder) await checkTextOutput(output, into);
  const { input, notes } = await readInputs(paths, options);
  const figures = [
    ...[firstFigure(input)].filter((f) => f !== null),
    ...figuresOf(sectionsOf(input)),
  ];
  const files: string[] = [];
  let bytes = 0;
  const write = async (path: string, text: string) => {
    if (!options.dryRun) await writeText(path, text, into);
    files.push(path);
    bytes += Buffer.byteLength(text);
  };
  if (format === 'json') await write(output, showRun(input.sections));
  else if (format === 'html') await write(output, await pageOf(input, await loadRenderer()));
  else {
    const one = await contentOf(format);
    const chosen = options.figure === undefined ? figures : [pick(figures, options.figure)];
    if (folder && !options.dryRun) await makeFolder(output, chosen, format, into);
    for (const f of chosen)
      await write(folder ? join(output, `${f.id}.${format}`) : output, await one(f));
  }
  return {
    inputs: paths,
    output,
    format,
    files,
    figures: figures.map((f) => f.id),
    bytes,
    notes,
  };
}

function formatOf(output: string): ReportFormat {
  const extension = extname(output).slice(1).toLowerCase();
  return REPORT_FORMATS.find((f) => f === extension) ?? 'html';
}

async function contentOf(format: 'csv' | 'svg'): Promise<(f: Figure) => Promise<string>> {
  if (format === 'csv') return async (f) => toCsv(f.table);
  const draw = await loadRenderer();
  return async (f) => `${withLightColours(await draw(f.chart))}\n`;
}

function pick(figures: readonly Figure[], id: string): Figure {
  const found = figures.find((f) => f.id === id);
  if (found) return found;
  throw new StockpotError('USAGE', `there is no figure "${id}" in this report`, {
    remedy: `It has: ${figures.map((f) => f.id).join(', ')}.`,
  });
}

/** Refuses before anything is written where one of the files cannot be. */
async function makeFolder(
  folder: string,
  figures: readonly Figure[],
  format: string,
  into: { overwrite?: boolean; inputs: readonly string[] },
): Promise<void> {
  if (folder === '')
    throw new StockpotError('USAGE', 'expected the name of an output but received ""');
  for (const f of figures) await checkTextOutput(join(folder, `${f.id}.${format}`), into);
  await mkdir(folder, { recursive: true }).catch((cause) => {
    throw new StockpotError(
      'IO',
      `${folder}: a folder cannot be made: ${(cause as Error).message}`,
      {
        file: folder,
        cause,
        remedy: 'csv and svg are one file a figure; name a folder, or choose one with --figure.',
      },
    );
  });
}

async function readInputs(
  paths: readonly string[],
  options: ReportOptions,
): Promise<{ input: ReportInput; notes: string[] }> {
  if (paths.length === 0) throw new StockpotError('USAGE', 'expected a run or a soup');
  if (paths.every((p) => extname(p).toLowerCase() === '.json')) {
    if (options.data !== undefined)
      throw new StockpotError('USAGE', 'a run is measured already', {
        remedy: 'Leave out --data, or name a soup.',
      });
    const runs = [];
    for (const p of paths) runs.push(await readRun(p));
    const sections: Sections = Object.assign({}, ...runs.map((r) => r.sections));
    return {
      input: { stockpot: (runs[0] as (typeof runs)[number]).stockpot, sections },
      notes: [],
    };
  }
  if (paths.length > 1)
    throw new StockpotError(
      'USAGE',
      `expected one soup, or runs (.json), but received ${paths.join(', ')}`,
    );
  return readSoup(paths[0] as string, options);
}

async function readSoup(
  path: string,
  options: ReportOptions,
): Promise<{ input: ReportInput; notes: string[] }> {
  const checkpoint = await openCheckpoint(path, { key: options.key });
  const record = await readRecord(checkpoint);
  const input: ReportInput = {
    stockpot: record?.stockpot ?? 'unknown',
    sections: {},
    soup: { path, record },
  };
  const { data } = options;
  if (data === undefined) {
    if (options.test !== undefined || options.shifted !== undefined)
      throw new StockpotError('USAGE', 'expected --data DATA beside --test and --shifted', {
        remedy: 'Name the held-out set: the best ingredient is chosen on it.',
      });
    return { input, notes: [] };
  }
  const { found, missing } = await locate(checkpoint, record);
  if (found.length === 0) {
    throw new StockpotError(
      'NOT_FOUND',
      `${path}: none of its ingredients is where its record says, so there is nothing to compare it with`,
      {
        file: path,
        details: missing.map((file) => ({ file, message: 'is not there' })),
        remedy: 'Use stockpot compare INGREDIENT... --soup SOUP.',
      },
    );
  }
  const result = await compare(found, { ...options, data, soups: [checkpoint], recipes: false });
  const notes = missing.map((m) => `The ingredient ${m} is not there; it is not compared.`);
  result.notes.push(...notes);
  input.sections.compare = result;
  return { input, notes };
}

/** The ingredients that are where the record says, from here or from where the soup lies. */
async function locate(soup: Checkpoint, record: SoupRecord | null) {
  const exists = (p: string) =>
    stat(p).then(
      () => true,
      () => false,
    );
  const found: string[] = [];
  const missing: string[] = [];
  for (const { path } of record?.ingredients ?? []) {
    const beside = isAbsolute(path) ? path : join(dirname(soup.path), path);
    if (await exists(path)) found.push(path);
    else if (await exists(beside)) found.push(beside);
    else missing.push(path);
  }
  return { found, missing };
}
