import { shortNames } from '../../compare/methods.js';
import type { Figure } from '../figure.js';
import type { LandscapeInput } from '../inputs.js';
import { AXIS_LINES, colour, FONT, LABELS, SURFACE } from '../theme.js';
import { hundred } from './common.js';

const WIDTH = 460;

const SHAPES: Record<string, string> = { base: 'cross', ingredient: 'circle', soup: 'diamond' };

/** Loss, or accuracy, in the plane through a base and two models, with what lies in it. */
export function landscapeFigure(
  l: LandscapeInput,
  what: 'loss' | 'accuracy',
  id: string = what,
): Figure | null {
  const columns = l.x.length;
  const rowsCount = l.y.length;
  const scaleOf = (v: number | null): number | null =>
    what === 'accuracy' ? hundred(v) : typeof v === 'number' && Number.isFinite(v) ? v : null;
  const values = l.points.map((p) => scaleOf(p[what]));
  const finite = values.filter((v): v is number => v !== null);
  if (columns < 2 || rowsCount < 2 || values.length !== columns * rowsCount || finite.length === 0)
    return null;
  const low = Math.min(...finite);
  const high = Math.max(...finite);
  const worst = what === 'loss' ? high : low;
  const steps = SURFACE.length;
  // Finer where it is best: that is where the models lie.
  const levels = Array.from({ length: steps }, (_, i) =>
    what === 'loss'
      ? low + (high - low) * (i / steps) ** 2
      : high - (high - low) * ((steps - i) / steps) ** 2,
  );
  // The most intense colour is the best.
  const colours = SURFACE.map((name) => colour(name));
  const range = what === 'loss' ? [...colours].reverse() : colours;
  // Rows from the top.
  const grid = l.y.flatMap((_, r) =>
    values
      .slice((rowsCount - 1 - r) * columns, (rowsCount - r) * columns)
      .map((v) => (v === null ? worst : v)),
  );
  const names = shortNames(l.marks.map((m) => m.model));
  const marks = l.marks.map((m, i) => ({
    name: names[i],
    x: m.x,
    y: m.y,
    shape: SHAPES[m.role] ?? 'circle',
    role: m.role,
  }));
  const ends = (a: number[]) => [a[0], a[a.length - 1]];
  const reach = (a: number[]) => (a[a.length - 1] as number) - (a[0] as number);
  const isotropic = reach(l.y) / reach(l.x);
  const shape = Math.min(1.3, Math.max(0.6, isotropic));
  const height = Math.round(WIDTH * (Number.isFinite(shape) ? shape : 1));
  const unit = what === 'loss' ? 'nats' : '%';
  const axis = { ...LABELS, ...AXIS_LINES, tickCount: 6 };
  const text = (dx: number, stroke: boolean) => ({
    type: 'text',
    from: { data: 'marks' },
    encode: {
      enter: {
        x: { scale: 'x', field: 'x' },
        y: { scale: 'y', field: 'y', offset: -11 },
        dx: { value: dx },
        text: { field: 'name' },
        align: { value: 'center' },
        font: { value: FONT },
        fontSize: { value: 12 },
        fill: { value: stroke ? 'none' : colour('ink') },
        ...(stroke
          ? {
              stroke: { value: colour('page') },
              strokeWidth: { value: 3 },
              strokeJoin: { value: 'round' },
            }
          : {}),
      },
    },
  });
  return {
    id: `landscape-${id}`,
    title: `${what === 'loss' ? 'Loss' : 'Accuracy'} in the plane through ${names.slice(0, 3).join(', ')}`,
    caption: `The plane through the first three, with Gram–Schmidt’s axes in units of the weights’ norm; ${columns} × ${rowsCount} mixes were evaluated, between which the contours are drawn. The most intense colour is the best. Soups that do not lie in the plane are at their nearest point.${shape === isotropic ? '' : ' The two axes have different scales.'}`,
    description: `Contours of ${what} over ${columns} by ${rowsCount} points, with ${names.join(', ')} marked.`,
    kinds: [],
    chart: {
      vega: {
        $schema: 'https://vega.github.io/schema/vega/v6.json',
        width: WIDTH,
        height,
        padding: 4,
        config: { aria: false },
        data: [
          { name: 'grid', values: [{ width: columns, height: rowsCount, values: grid }] },
          {
            name: 'contours',
            source: 'grid',
            transform: [
              {
                type: 'isocontour',
                // Values are at the middle of their cells: the picture reaches from the first to the last.
                scale: [WIDTH / (columns - 1), height / (rowsCount - 1)],
                translate: [-WIDTH / (2 * (columns - 1)), -height / (2 * (rowsCount - 1))],
                smooth: true,
                thresholds: levels,
              },
            ],
          },
          { name: 'marks', values: marks },
        ],
        scales: [
          { name: 'x', type: 'linear', range: [0, WIDTH], domain: ends(l.x), zero: false },
          { name: 'y', type: 'linear', range: [height, 0], domain: ends(l.y), zero: false },
          { name: 'fill', type: 'ordinal', domain: levels, range },
        ],
        axes: [
          { scale: 'x', orient: 'bottom', title: `towards ${names[1]}, norm`, ...axis },
          { scale: 'y', orient: 'left', title: 'orthogonal to it, norm', ...axis },
        ],
        legends: [
          {
            fill: 'fill',
            type: 'symbol',
            symbolType: 'square',
            symbolSize: 180,
            symbolStrokeWidth: 0,
            orient: 'right',
            title: `${what}, ${unit}, from`,
            ...LABELS,
            format: what === 'loss' ? '.3f' : '.1f',
            formatType: 'number',
          },
        ],
        marks: [
          {
            type: 'rect',
            encode: {
              enter: {
                width: { value: WIDTH },
                height: { value: height },
                fill: { value: range[0] },
              },
            },
          },
          {
            type: 'path',
            clip: true,
            from: { data: 'contours' },
            encode: {
              enter: {
                fill: { scale: 'fill', field: 'contour.value' },
                stroke: { value: colour('page') },
                strokeWidth: { value: 0.5 },
              },
            },
            transform: [{ type: 'geopath', field: 'datum.contour' }],
          },
          {
            type: 'symbol',
            from: { data: 'marks' },
            encode: {
              enter: {
                x: { scale: 'x', field: 'x' },
                y: { scale: 'y', field: 'y' },
                shape: { field: 'shape' },
                size: { value: 90 },
                fill: { value: colour('ink') },
                stroke: { value: colour('page') },
                strokeWidth: { value: 1.5 },
              },
            },
          },
          text(0, true),
          text(0, false),
        ],
      },
    },
    table: {
      columns: ['x, norm', 'y, norm', `${what}, ${unit}`],
      rows: [...l.points.map((p, i) => [p.x, p.y, values[i] as number | null])],
    },
  };
}
