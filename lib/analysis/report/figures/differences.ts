import type { Comparison } from '../../compare/types.js';
import type { Figure } from '../figure.js';
import { colour } from '../theme.js';
import { around, hundred, isMade, kindsOf, lookOf, WIDTH } from './common.js';
import { columnsOf, labelOf, referenceOf } from './sets.js';

/** How much better each soup and ensemble is than the best individual model, on every set. */
export function differencesFigure(c: Comparison): Figure | null {
  const methods = c.methods.filter((m) => isMade(m) || m.kind === 'oracle');
  if (methods.length === 0) return null;
  const columns = columnsOf(c);
  const level = Math.round(100 * c.bootstrap.level);
  const rows = methods.flatMap((m) =>
    columns.map((column) => {
      const d = column.difference(m);
      return {
        method: labelOf(m),
        kind: m.kind,
        set: column.title,
        value: hundred(d?.value),
        low: hundred(d?.low),
        high: hundred(d?.high),
      };
    }),
  );
  const kinds = kindsOf(methods);
  const look = lookOf(kinds);
  const domain = around([0, ...rows.flatMap((r) => [r.low, r.high])]);
  const width = Math.floor((WIDTH - 150) / columns.length) - 18;
  const y = {
    field: 'method',
    type: 'nominal',
    sort: methods.map(labelOf),
    title: null,
    axis: { grid: false, domain: false, ticks: false, labelColor: colour('ink') },
  };
  const x = {
    field: 'value',
    type: 'quantitative',
    scale: { domain, nice: false },
    axis: {
      title: 'accuracy, points',
      tickCount: Math.max(4, Math.floor(width / 40)),
      domain: false,
    },
  };
  return {
    id: 'differences',
    title: `Accuracy against the best individual model, ${referenceOf(c).label}`,
    caption: `Difference in percentage points with its ${level} % interval; right of the line is better. The oracle is the best individual model of each set, chosen by looking at it.`,
    description: `For each of ${methods.map(labelOf).join(', ')} and each set, the difference in accuracy to ${referenceOf(c).label} with its interval.`,
    kinds: [],
    chart: {
      vegaLite: {
        data: { values: rows },
        facet: {
          column: {
            field: 'set',
            type: 'nominal',
            sort: columns.map((s) => s.title),
            header: { labelAnchor: 'middle', labelPadding: 6 },
          },
        },
        spacing: 18,
        spec: {
          width,
          height: { step: 26 },
          layer: [
            {
              mark: { type: 'rule', strokeWidth: 1, color: colour('muted') },
              encoding: { x: { datum: 0, type: 'quantitative' } },
            },
            {
              mark: { type: 'rule', strokeWidth: 2 },
              encoding: {
                y,
                x: { ...x, field: 'low' },
                x2: { field: 'high' },
                color: look.line,
              },
            },
            {
              mark: { type: 'point', size: 70, opacity: 1 },
              encoding: { y, x, stroke: look.stroke, fill: look.fill, shape: look.shape },
            },
          ],
        },
      },
    },
    table: {
      columns: ['method', 'set', 'difference in points', 'low', 'high'],
      rows: rows.map((r) => [r.method, r.set, r.value, r.low, r.high]),
    },
  };
}
