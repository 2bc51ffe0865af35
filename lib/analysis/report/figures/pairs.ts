import { shortNames } from '../../compare/methods.js';
import type { Figure } from '../figure.js';
import type { AnglesInput, GapInput } from '../inputs.js';
import { decimals } from '../numbers.js';
import { colour } from '../theme.js';
import { around, hundred } from './common.js';

/** The paper's observation: pairs at a larger angle gain more by being averaged. */
export function anglesFigure(a: AnglesInput): Figure | null {
  const names = shortNames(a.ingredients);
  const rows = (a.pairs ?? [])
    .filter((p) => p.angle !== null && p.gain !== null)
    .map((p) => ({
      pair: `${names[p.a]} + ${names[p.b]}`,
      angle: p.angle,
      gain: hundred(p.gain),
    }));
  if (rows.length === 0) return null;
  return {
    id: 'angles',
    title: 'Angle between two models and what averaging them gains',
    caption: `A mark a pair: the angle between their task vectors, and the accuracy of the average of their weights minus their mean accuracy, held-out. Correlation (Pearson) over ${rows.length} pairs: ${decimals(a.correlation, 2)}. Pairs share models, so they are not independent, and no interval is given.`,
    description: `Scatter of ${rows.length} pairs: angle in degrees against gain in accuracy.`,
    kinds: [],
    chart: {
      vegaLite: {
        data: { values: rows },
        width: 700,
        height: 320,
        layer: [
          {
            mark: { type: 'rule', strokeWidth: 1, color: colour('muted') },
            encoding: { y: { datum: 0, type: 'quantitative' } },
          },
          {
            mark: {
              type: 'point',
              size: 60,
              filled: true,
              opacity: 0.85,
              color: colour('uniform'),
            },
            encoding: {
              x: {
                field: 'angle',
                type: 'quantitative',
                scale: { domain: around(rows.map((r) => r.angle)), nice: false },
                axis: { title: 'angle between task vectors, degrees', tickCount: 8 },
              },
              y: {
                field: 'gain',
                type: 'quantitative',
                scale: { domain: around([0, ...rows.map((r) => r.gain)]), nice: false },
                axis: { title: 'gain of the average, points', tickCount: 6 },
              },
            },
          },
        ],
      },
    },
    table: {
      columns: ['pair', 'angle, degrees', 'gain, points'],
      rows: rows.map((r) => [r.pair, r.angle, r.gain]),
    },
  };
}

/** The loss of soup minus ensemble, measured, against what the paper's expression says. */
export function gapFigure(g: GapInput): Figure | null {
  if (g.points.length === 0) return null;
  const names = shortNames(g.ingredients);
  const rows = g.points.map((p) => ({
    pair: `${names[p.a]} + ${names[p.b]}`,
    alpha: p.alpha,
    beta: p.beta,
    predicted: p.predicted,
    measured: p.measured,
  }));
  // Differences of losses are small: the air of `around` is for points.
  const all = rows.flatMap((r) => [r.predicted, r.measured]);
  const air = 0.06 * (Math.max(...all) - Math.min(...all) || 1e-6);
  const scale = {
    domain: [Math.min(...all, 0) - air, Math.max(...all, 0) + air],
    nice: false,
  };
  const ends = scale.domain as [number, number];
  return {
    id: 'gap',
    title: 'Soup minus ensemble: the analytical expression against what is measured',
    caption: `Difference in loss (nats) of the soup and the ensemble of a pair, a mark a pair and α. On the diagonal the expression is exact. Correlation (Pearson) over ${rows.length} points: ${decimals(g.correlation, 2)}; mean error ${g.meanError.toExponential(1)} nats. Points share models, so no interval is given.`,
    description: `Scatter of ${rows.length} points: predicted against measured difference in loss.`,
    kinds: [],
    chart: {
      vegaLite: {
        data: { values: rows },
        width: 380,
        height: 380,
        layer: [
          {
            data: { values: [{ x: ends[0], x2: ends[1] }] },
            mark: { type: 'rule', strokeWidth: 1, color: colour('muted') },
            encoding: {
              x: { field: 'x', type: 'quantitative', scale },
              y: { field: 'x', type: 'quantitative', scale },
              x2: { field: 'x2' },
              y2: { field: 'x2' },
            },
          },
          {
            mark: {
              type: 'point',
              size: 50,
              filled: true,
              opacity: 0.85,
              color: colour('uniform'),
            },
            encoding: {
              x: {
                field: 'predicted',
                type: 'quantitative',
                scale,
                axis: { title: 'expression, nats', tickCount: 5 },
              },
              y: {
                field: 'measured',
                type: 'quantitative',
                scale,
                axis: { title: 'measured, nats', tickCount: 5 },
              },
            },
          },
        ],
      },
    },
    table: {
      columns: ['pair', 'α', 'β', 'expression, nats', 'measured, nats'],
      rows: rows.map((r) => [r.pair, r.alpha, r.beta, r.predicted, r.measured]),
    },
  };
}
