import type { Comparison } from '../../compare/types.js';
import type { Figure } from '../figure.js';
import { colour } from '../theme.js';
import { around, hundred, lookOf, WIDTH } from './common.js';

/** How recipes do that see few held-out examples. */
export function subsetFigure(c: Comparison): Figure | null {
  const { subset } = c;
  if (!subset || subset.sizes.length === 0) return null;
  const sizes = subset.sizes.map((s) => `${s.n} held-out`);
  const means = subset.sizes.flatMap(({ rows }, at) =>
    rows.map((r) => ({
      size: sizes[at],
      method: r.label,
      kind: r.kind,
      value: hundred(r.mean.value),
      low: hundred(r.mean.low),
      high: hundred(r.mean.high),
      noise: hundred(r.noise),
      optimism: hundred(r.optimism.value),
      optimismLow: hundred(r.optimism.low),
      optimismHigh: hundred(r.optimism.high),
    })),
  );
  const repeats = subset.sizes.flatMap(({ rows }, at) =>
    rows.flatMap((r) =>
      r.judged.map((x) => ({ size: sizes[at], method: r.label, kind: r.kind, value: hundred(x) })),
    ),
  );
  const labels = (subset.sizes[0]?.rows ?? []).map((r) => r.label);
  const look = lookOf((subset.sizes[0]?.rows ?? []).map((r) => r.kind));
  const width = Math.floor((WIDTH - 130) / sizes.length) - 18;
  const y = {
    field: 'method',
    type: 'nominal',
    sort: labels,
    title: null,
    axis: { domain: false, ticks: false, labelColor: colour('ink') },
  };
  const x = {
    field: 'value',
    type: 'quantitative',
    scale: {
      domain: around([...repeats.map((r) => r.value), ...means.flatMap((m) => [m.low, m.high])]),
      nice: false,
    },
    axis: {
      title: `accuracy on ${subset.judge}, %`,
      tickCount: Math.max(3, Math.floor(width / 50)),
      domain: false,
    },
  };
  return {
    id: 'subset',
    title: 'Recipes with few held-out examples',
    caption: `Each small tick is one of ${subset.repeats} random subsets of the held-out set, on which the recipe chose; it is judged on ${subset.judge}. The mark is their mean with its interval. How far the ticks lie apart is what the luck of the few examples does.`,
    description: `Accuracies of recipes that chose on ${sizes.join(', ')} examples.`,
    kinds: [],
    chart: {
      vegaLite: {
        data: { values: [...means.map((m) => ({ ...m, mean: true })), ...repeats] },
        facet: { column: { field: 'size', type: 'nominal', sort: sizes } },
        spacing: 18,
        spec: {
          width,
          height: { step: 34 },
          layer: [
            {
              transform: [{ filter: '!datum.mean' }],
              mark: { type: 'tick', size: 20, thickness: 1, opacity: 0.55 },
              encoding: { y, x, color: look.line },
            },
            {
              transform: [{ filter: 'datum.mean' }],
              mark: { type: 'rule', strokeWidth: 2.4 },
              encoding: { y, x: { ...x, field: 'low' }, x2: { field: 'high' }, color: look.line },
            },
            {
              transform: [{ filter: 'datum.mean' }],
              mark: { type: 'point', size: 60, opacity: 1 },
              encoding: { y, x, stroke: look.stroke, fill: look.fill, shape: look.shape },
            },
          ],
        },
      },
    },
    table: {
      columns: [
        'held-out examples',
        'recipe',
        'mean accuracy %',
        'low',
        'high',
        'deviation over subsets, points',
        'looks better than it is by, points',
        'low',
        'high',
      ],
      rows: means.map((m) => [
        m.size ?? null,
        m.method,
        m.value,
        m.low,
        m.high,
        m.noise,
        m.optimism,
        m.optimismLow,
        m.optimismHigh,
      ]),
    },
  };
}
