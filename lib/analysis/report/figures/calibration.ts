import type { ReliabilityBin } from '../../calibration.js';
import type { Comparison, MethodResult, SetResult } from '../../compare/types.js';
import type { Figure } from '../figure.js';
import { colour } from '../theme.js';
import { around, hundred, isMade, kindsOf, lookOf, WIDTH } from './common.js';
import { columnsOf, judgeOf, labelOf, referenceOf } from './sets.js';

/** The best individual model, and all soups and ensembles. */
const shownMethods = (c: Comparison): MethodResult[] => [
  referenceOf(c),
  ...c.methods.filter(isMade),
];

/** The sets with results of their own (not means), the deciding ones first. */
const setsOf = (c: Comparison) => columnsOf(c).filter((s) => s.role !== 'shiftMean');

/** The set that calibration is judged on: the test set, else a shifted one, else the held-out set. */
const judged = (c: Comparison) => judgeOf(c);

const STATES = ['as it is', 'with temperature'] as const;

/** Calibration errors before and after temperature, with intervals. */
export function calibrationFigure(c: Comparison): Figure {
  const methods = shownMethods(c);
  const sets = setsOf(c).slice(0, 4);
  const rows = methods.flatMap((m) =>
    sets.flatMap((s) => {
      const r = m.sets[s.name] as SetResult;
      return STATES.map((state, at) => {
        const i = at === 0 ? r.ece : r.calibrated?.ece;
        return {
          method: labelOf(m),
          kind: m.kind,
          set: s.title,
          state,
          value: hundred(i?.value),
          low: hundred(i?.low),
          high: hundred(i?.high),
        };
      });
    }),
  );
  const look = lookOf(kindsOf(methods));
  const width = Math.floor((WIDTH - 150) / sets.length) - 18;
  const y = {
    field: 'method',
    type: 'nominal',
    sort: methods.map(labelOf),
    title: null,
    scale: { paddingInner: 0.4 },
    axis: { domain: false, ticks: false, labelColor: colour('ink') },
  };
  const yOffset = { field: 'state', type: 'nominal', sort: [...STATES] };
  const x = {
    field: 'value',
    type: 'quantitative',
    scale: { domain: [0, around(rows.map((r) => r.high))[1]], nice: false },
    axis: {
      title: 'calibration error, %',
      tickCount: Math.max(3, Math.floor(width / 45)),
      domain: false,
    },
  };
  return {
    id: 'calibration',
    title: 'Expected calibration error, before and after temperature',
    caption:
      'Filled: as it is. Hollow: with the temperature that minimises the loss on the held-out set. Left is better. On the held-out set itself the hollow marks have seen the labels.',
    description: `Calibration errors of ${methods.map(labelOf).join(', ')} on ${sets.map((s) => s.title).join(', ')}.`,
    kinds: [],
    chart: {
      vegaLite: {
        data: { values: rows },
        facet: { column: { field: 'set', type: 'nominal', sort: sets.map((s) => s.title) } },
        spacing: 18,
        spec: {
          width,
          height: { step: 15 },
          layer: [
            {
              mark: { type: 'rule', strokeWidth: 1.6, opacity: 0.7 },
              encoding: {
                y,
                yOffset,
                x: { ...x, field: 'low' },
                x2: { field: 'high' },
                color: look.line,
              },
            },
            {
              mark: { type: 'point', size: 50, opacity: 1 },
              encoding: {
                y,
                yOffset,
                x,
                shape: look.shape,
                stroke: look.stroke,
                fill: {
                  condition: {
                    test: `datum.state === '${STATES[1]}'`,
                    value: colour('page'),
                  },
                  field: 'kind',
                  type: 'nominal',
                  scale: look.line.scale,
                  legend: null,
                },
              },
            },
          ],
        },
      },
    },
    table: {
      columns: ['method', 'set', 'temperature', 'calibration error %', 'low', 'high'],
      rows: rows.map((r) => [r.method, r.set, r.state, r.value, r.low, r.high]),
    },
  };
}

/** Wilson's interval of a share, for the few examples of a bin. */
function wilson(share: number, n: number): [number, number] {
  const z = 1.959964;
  const centre = (share + (z * z) / (2 * n)) / (1 + (z * z) / n);
  const half =
    (z * Math.sqrt((share * (1 - share)) / n + (z * z) / (4 * n * n))) / (1 + (z * z) / n);
  return [Math.max(0, centre - half), Math.min(1, centre + half)];
}

/** Reliability diagrams on the deciding set. */
export function reliabilityFigure(c: Comparison): Figure {
  const methods = shownMethods(c).slice(0, 6);
  const set = judged(c);
  const rows = methods.flatMap((m) => {
    const r = (m.sets[set.name] as SetResult).reliability;
    return STATES.flatMap((state, at) =>
      ((at === 0 ? r.before : r.after) ?? [])
        .filter((b) => b.n > 0)
        .map((b: ReliabilityBin) => {
          const [low, high] = wilson(b.accuracy as number, b.n);
          return {
            method: labelOf(m),
            kind: m.kind,
            state,
            n: b.n,
            confidence: hundred(b.confidence),
            accuracy: hundred(b.accuracy),
            low: hundred(low),
            high: hundred(high),
          };
        }),
    );
  });
  const look = lookOf(kindsOf(methods));
  const size = Math.floor((WIDTH - 70) / methods.length) - 14;
  const scale = { domain: [0, 100], nice: false };
  const axis = { values: [0, 50, 100] };
  const x = {
    field: 'confidence',
    type: 'quantitative',
    scale,
    axis: { ...axis, title: 'confidence, %' },
  };
  const y = {
    field: 'accuracy',
    type: 'quantitative',
    scale,
    axis: { ...axis, title: 'accuracy, %' },
  };
  return {
    id: 'reliability',
    title: `Reliability on ${set.title}`,
    caption:
      '15 bins of confidence. On the diagonal a model is as often right as it says; below it is too sure, above not sure enough. Larger marks hold more examples; lines are 95 % intervals (Wilson) of a bin.',
    description: `Reliability diagrams of ${methods.map(labelOf).join(', ')}, before and after temperature.`,
    kinds: [],
    chart: {
      vegaLite: {
        data: { values: rows },
        facet: {
          column: { field: 'method', type: 'nominal', sort: methods.map(labelOf) },
          row: {
            field: 'state',
            type: 'nominal',
            sort: [...STATES],
            header: { labelOrient: 'left', labelAngle: -90, labelFontWeight: 'normal' },
          },
        },
        spacing: { column: 14, row: 16 },
        spec: {
          width: size,
          height: size,
          layer: [
            {
              mark: { type: 'rule', strokeWidth: 1, color: colour('muted') },
              encoding: {
                x: { datum: 0, type: 'quantitative', scale },
                y: { datum: 0, type: 'quantitative', scale },
                x2: { datum: 100 },
                y2: { datum: 100 },
              },
            },
            {
              mark: { type: 'rule', strokeWidth: 1.4, opacity: 0.6 },
              encoding: { x, y: { ...y, field: 'low' }, y2: { field: 'high' }, color: look.line },
            },
            {
              mark: { type: 'circle', opacity: 1 },
              encoding: {
                x,
                y,
                color: look.line,
                size: {
                  field: 'n',
                  type: 'quantitative',
                  scale: { range: [10, 110] },
                  legend: null,
                },
              },
            },
          ],
        },
      },
    },
    table: {
      columns: [
        'method',
        'temperature',
        'confidence %',
        'accuracy %',
        'low',
        'high',
        'examples in bin',
      ],
      rows: rows.map((r) => [r.method, r.state, r.confidence, r.accuracy, r.low, r.high, r.n]),
    },
  };
}
