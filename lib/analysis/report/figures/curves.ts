import type { Interval } from '../../bootstrap.js';
import type { Comparison, MethodKind } from '../../compare/types.js';
import type { Figure } from '../figure.js';
import { points } from '../numbers.js';
import { colour } from '../theme.js';
import { around, hundred, lookOf, WIDTH } from './common.js';
import { columnsOf, referenceOf, type SetColumn } from './sets.js';

const KINDS: readonly MethodKind[] = ['uniform', 'greedy', 'ensemble'];

/** At most three side by side: the test set, the mean of the shifts, the held-out set; else what there is. */
function chosenColumns(c: Comparison): SetColumn[] {
  const columns = columnsOf(c);
  const mean = columns.some((s) => s.role === 'shiftMean');
  return columns.filter((s) => !(mean && s.role === 'shifted')).slice(0, 3);
}

/** Accuracy against the number of models that go in, best on held-out first. */
export function curvesFigure(c: Comparison): Figure | null {
  if (c.curve.length < 2) return null;
  const columns = chosenColumns(c);
  const rows = c.curve.flatMap((p) =>
    columns.flatMap((column) =>
      (['uniform', 'greedy', 'ensemble'] as const).map((kind) => {
        const i = p[kind][column.name] as Interval;
        return {
          n: p.n,
          kind,
          set: column.title,
          value: hundred(i.value),
          low: hundred(i.low),
          high: hundred(i.high),
          best: hundred(column.accuracy(referenceOf(c))?.value),
        };
      }),
    ),
  );
  const look = lookOf(KINDS);
  const width = Math.floor((WIDTH - 60) / columns.length) - 46;
  const x = {
    field: 'n',
    type: 'quantitative',
    scale: { domain: [1, c.curve.length], nice: false },
    axis: {
      title: 'models, best first',
      values: ticks(c.curve.length),
      format: 'd',
      grid: false,
    },
  };
  const y = {
    field: 'value',
    type: 'quantitative',
    scale: { zero: false, nice: false, padding: 6 },
    axis: { title: 'accuracy, %', tickCount: 6 },
  };
  return {
    id: 'models',
    title: 'Accuracy against the number of models',
    caption:
      'The first n models, best on held-out first: their uniform soup, the greedy soup that they give, their ensemble. Bands are the intervals; the dashed line is the best individual model. The ensemble of n models costs n times as much to run as a soup.',
    description: `Lines of accuracy from 1 to ${c.curve.length} models for uniform soup, greedy soup and ensemble.`,
    kinds: KINDS,
    chart: {
      vegaLite: {
        data: { values: rows },
        facet: {
          column: { field: 'set', type: 'nominal', sort: columns.map((s) => s.title) },
        },
        spacing: 24,
        resolve: { scale: { y: 'independent' } },
        spec: {
          width,
          height: 240,
          layer: [
            {
              mark: { type: 'area', opacity: 0.07 },
              encoding: { x, y: { ...y, field: 'low' }, y2: { field: 'high' }, color: look.line },
            },
            {
              transform: [{ filter: 'datum.n === 1 && datum.kind === "uniform"' }],
              mark: { type: 'rule', strokeDash: [4, 3], strokeWidth: 1.2, color: colour('muted') },
              encoding: { y: { ...y, field: 'best' } },
            },
            { mark: { type: 'line' }, encoding: { x, y, color: look.line } },
            {
              mark: { type: 'point', size: 38, opacity: 1 },
              encoding: { x, y, stroke: look.stroke, fill: look.fill, shape: look.shape },
            },
          ],
        },
      },
    },
    table: {
      columns: ['models', 'method', 'set', 'accuracy %', 'low', 'high'],
      rows: rows.map((r) => [r.n, r.kind, r.set, r.value, r.low, r.high]),
    },
  };
}

/** What the soup gives up against the ensemble of the same models. */
export function ensembleFigure(c: Comparison): Figure | null {
  if (c.curve.length < 2) return null;
  const columns = chosenColumns(c);
  const rows = c.curve.slice(1).flatMap((p) =>
    columns.map((column) => {
      const i = p.soupMinusEnsemble[column.name] as Interval;
      return {
        n: p.n,
        set: column.title,
        value: hundred(i.value),
        low: hundred(i.low),
        high: hundred(i.high),
      };
    }),
  );
  const width = Math.floor((WIDTH - 60) / columns.length) - 24;
  const domain = around([0, ...rows.flatMap((r) => [r.low, r.high])]);
  const last = rows.filter((r) => r.n === c.curve.length)[0];
  const x = {
    field: 'n',
    type: 'quantitative',
    scale: { domain: [1.6, c.curve.length + 0.4], nice: false },
    axis: {
      title: 'models in both',
      values: ticks(c.curve.length).filter((n) => n > 1),
      format: 'd',
      grid: false,
    },
  };
  const y = {
    field: 'value',
    type: 'quantitative',
    scale: { domain, nice: false },
    axis: { title: 'soup − ensemble, points', tickCount: 6 },
  };
  return {
    id: 'ensemble',
    title: 'Uniform soup against the ensemble of the same models',
    caption: `Difference in accuracy, with paired intervals; above the line the soup is better. With all ${c.curve.length} models on ${columns[0]?.title}: ${points((last?.value ?? Number.NaN) / 100)} [${points((last?.low ?? Number.NaN) / 100)}, ${points((last?.high ?? Number.NaN) / 100)}] points, at 1/${c.curve.length} of the cost of a prediction.`,
    description: `Differences between soup and ensemble from 2 to ${c.curve.length} models.`,
    kinds: [],
    chart: {
      vegaLite: {
        data: { values: rows },
        facet: { column: { field: 'set', type: 'nominal', sort: columns.map((s) => s.title) } },
        spacing: 24,
        spec: {
          width,
          height: 190,
          layer: [
            {
              mark: { type: 'rule', strokeWidth: 1, color: colour('muted') },
              encoding: { y: { datum: 0, type: 'quantitative' } },
            },
            {
              mark: { type: 'rule', strokeWidth: 2, color: colour('uniform') },
              encoding: { x, y: { ...y, field: 'low' }, y2: { field: 'high' } },
            },
            {
              mark: {
                type: 'point',
                shape: 'square',
                size: 50,
                filled: true,
                opacity: 1,
                color: colour('uniform'),
              },
              encoding: { x, y },
            },
          ],
        },
      },
    },
    table: {
      columns: ['models', 'set', 'soup minus ensemble, points', 'low', 'high'],
      rows: rows.map((r) => [r.n, r.set, r.value, r.low, r.high]),
    },
  };
}

/** Whole numbers, not too many. */
function ticks(most: number): number[] {
  const step = Math.max(1, Math.ceil(most / 10));
  return Array.from({ length: most }, (_, i) => i + 1).filter(
    (n) => n === 1 || n === most || (n % step === 0 && most - n >= step / 2),
  );
}
