import { shortNames } from '../../compare/methods.js';
import type { Figure } from '../figure.js';
import type { LineInput } from '../inputs.js';
import { colour } from '../theme.js';
import { around, hundred } from './common.js';

/** Accuracies on the line between two models: WiSE-FT’s curve where it is one set against the other. */
export function lineFigure(l: LineInput): Figure | null {
  const sets = Object.keys(l.points[0]?.scores ?? {});
  const titleOf = (set: string | undefined) => (set === 'heldout' ? 'held-out' : (set ?? ''));
  if (l.points.length < 2 || sets.length === 0) return null;
  const [from, to] = shortNames(l.checkpoints.slice(0, 2)) as [string, string];
  const rows = l.points.flatMap((p) =>
    sets.map((set) => ({
      alpha: p.alpha,
      set,
      accuracy: hundred(p.scores[set]?.accuracy),
      loss: p.scores[set]?.loss ?? null,
    })),
  );
  const table = {
    columns: ['α', 'set', 'accuracy %', 'loss, nats'],
    rows: rows.map((r) => [r.alpha, r.set, r.accuracy, r.loss]),
  };
  const common = {
    id: 'line',
    kinds: [],
    table,
    description: `${l.points.length} mixes of ${from} and ${to} on ${sets.join(', ')}.`,
  };
  const [across, up] = sets as [string, string | undefined];
  if (up === undefined) {
    return {
      ...common,
      title: `On the line from ${from} to ${to}`,
      caption: `Accuracy on ${titleOf(across)} of (1 − α)·${from} + α·${to}.`,
      chart: {
        vegaLite: {
          data: { values: rows },
          width: 700,
          height: 280,
          mark: {
            type: 'line',
            color: colour('uniform'),
            point: { filled: true, color: colour('uniform'), size: 40 },
          },
          encoding: {
            x: { field: 'alpha', type: 'quantitative', axis: { title: 'α', tickCount: 10 } },
            y: {
              field: 'accuracy',
              type: 'quantitative',
              scale: { zero: false },
              axis: { title: `accuracy on ${titleOf(across)}, %` },
            },
          },
        },
      },
    };
  }
  const points = sets.slice(1).flatMap((set) =>
    l.points.map((p) => ({
      set,
      alpha: p.alpha,
      x: hundred(p.scores[across]?.accuracy),
      y: hundred(p.scores[set]?.accuracy),
      end:
        p.alpha === l.points[0]?.alpha
          ? from
          : p.alpha === l.points[l.points.length - 1]?.alpha
            ? to
            : '',
    })),
  );
  return {
    ...common,
    title: `From ${from} to ${to}: WiSE-FT’s curve`,
    caption: `A mark an α: the accuracy of (1 − α)·${from} + α·${to} on ${titleOf(across)} against that on ${sets.slice(1).join(', ')}. Where the curve bends to the upper right, some mix is better than both ends.`,
    chart: {
      vegaLite: {
        data: { values: points },
        facet: { column: { field: 'set', type: 'nominal', sort: sets.slice(1) } },
        resolve: { scale: { y: 'independent' } },
        spacing: 24,
        spec: {
          width: Math.floor(780 / Math.min(3, sets.length - 1)) - 60,
          height: 280,
          layer: [
            {
              mark: {
                type: 'line',
                color: colour('uniform'),
                point: { filled: true, color: colour('uniform'), size: 36 },
              },
              encoding: {
                order: { field: 'alpha' },
                x: {
                  field: 'x',
                  type: 'quantitative',
                  scale: { domain: around(points.map((p) => p.x)), nice: false },
                  axis: { title: `accuracy on ${titleOf(across)}, %`, tickCount: 6 },
                },
                y: {
                  field: 'y',
                  type: 'quantitative',
                  scale: { zero: false, padding: 14 },
                  axis: { title: 'accuracy, %', tickCount: 6 },
                },
              },
            },
            {
              transform: [{ filter: "datum.end !== ''" }],
              mark: { type: 'text', dy: -12, color: colour('ink') },
              encoding: {
                x: { field: 'x', type: 'quantitative' },
                y: { field: 'y', type: 'quantitative' },
                text: { field: 'end' },
              },
            },
          ],
        },
      },
    },
  };
}
