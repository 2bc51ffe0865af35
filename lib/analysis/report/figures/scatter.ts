import type { Comparison } from '../../compare/types.js';
import type { Figure } from '../figure.js';
import { decimals, listed } from '../numbers.js';
import { colour } from '../theme.js';
import { around, hundred, kindsOf, lookOf } from './common.js';
import { columnsOf, labelOf, referenceOf } from './sets.js';

/** The paper's scatter: accuracy on the test set against the mean over the shifted sets, a mark a method. */
export function scatterFigure(c: Comparison): Figure | null {
  const columns = columnsOf(c);
  const across =
    columns.find((s) => s.role === 'test') ?? columns.find((s) => s.role === 'heldout');
  const up =
    columns.find((s) => s.role === 'shiftMean') ?? columns.find((s) => s.role === 'shifted');
  if (!across || !up) return null;
  // What matters is drawn last, on top.
  const methods = c.methods;
  const all = methods.map((m) => {
    const [x, y] = [across.accuracy(m), up.accuracy(m)];
    return {
      method: labelOf(m),
      kind: m.kind,
      x: hundred(x?.value),
      xLow: hundred(x?.low),
      xHigh: hundred(x?.high),
      y: hundred(y?.value),
      yLow: hundred(y?.low),
      yHigh: hundred(y?.high),
    };
  });
  const made = all.filter(
    (r) => !['individual', 'base', 'greedy-random', 'oracle'].includes(r.kind),
  );
  const near = all.filter((r) => r.kind !== 'base');
  const domainX = around(
    near.flatMap((r) => [r.x, ...(made.includes(r) ? [r.xLow, r.xHigh] : [])]),
  );
  const domainY = around(
    near.flatMap((r) => [r.y, ...(made.includes(r) ? [r.yLow, r.yHigh] : [])]),
  );
  // A base that is far worse would press all others into a corner.
  const inside = (v: number | null, [low, high]: [number, number]) =>
    v !== null && v >= low && v <= high;
  const rows = all.filter((r) => inside(r.x, domainX) && inside(r.y, domainY));
  const outside = all.filter((r) => !rows.includes(r));
  const kinds = kindsOf(rows);
  const look = lookOf(kinds);
  const upTitle = up.role === 'shiftMean' ? 'mean of the shifted sets' : up.title;
  const x = {
    field: 'x',
    type: 'quantitative',
    scale: { domain: domainX, nice: false },
    axis: { title: `accuracy on ${across.title}, %`, tickCount: 8 },
  };
  const y = {
    field: 'y',
    type: 'quantitative',
    scale: { domain: domainY, nice: false },
    axis: { title: `accuracy on ${upTitle}, %`, tickCount: 7 },
  };
  const away = outside.map((r) => `${r.method} (${decimals(r.x, 1)}, ${decimals(r.y, 1)})`);
  return {
    id: 'scatter',
    title: `Accuracy on ${across.title} and under shift`,
    caption: `Up and right is better. Lines are the intervals of soups and ensembles; those of the other marks are as long, and in the numbers.${away.length > 0 ? ` Outside of the picture: ${listed(away)}.` : ''}`,
    description: `Scatter of ${all.length} methods: accuracy on ${across.title} against accuracy on ${upTitle}.`,
    kinds,
    chart: {
      vegaLite: {
        data: { values: rows },
        width: 700,
        height: 420,
        layer: [
          {
            data: { values: made },
            mark: { type: 'rule', strokeWidth: 1.2, opacity: 0.55 },
            encoding: { x: { ...x, field: 'xLow' }, x2: { field: 'xHigh' }, y, color: look.line },
          },
          {
            data: { values: made },
            mark: { type: 'rule', strokeWidth: 1.2, opacity: 0.55 },
            encoding: { y: { ...y, field: 'yLow' }, y2: { field: 'yHigh' }, x, color: look.line },
          },
          {
            data: { values: [...rows.filter((r) => !made.includes(r)), ...made] },
            mark: { type: 'point', size: 90, opacity: 1 },
            encoding: { x, y, stroke: look.stroke, fill: look.fill, shape: look.shape },
          },
          {
            data: { values: rows.filter((r) => r.method === labelOf(referenceOf(c))) },
            mark: { type: 'text', dy: -11, color: colour('muted') },
            encoding: { x, y, text: { field: 'method' } },
          },
        ],
      },
    },
    table: {
      columns: ['method', `${across.title} %`, 'low', 'high', `${upTitle} %`, 'low', 'high'],
      rows: all.map((r) => [r.method, r.x, r.xLow, r.xHigh, r.y, r.yLow, r.yHigh]),
    },
  };
}
