import type { MethodKind } from '../compare/types.js';

/**
 * Colours by role, light and dark. The hues are those of Okabe and Ito's palette, which people with colour-blindness can
 * tell apart, darkened or lightened until marks have a contrast of 3:1 and text one of 4.5:1 to the page; kinds also
 * differ in shape.
 */
export const COLOURS = {
  page: ['#ffffff', '#15171a'],
  panel: ['#f5f5f2', '#1e2125'],
  ink: ['#1b1b1b', '#ececea'],
  muted: ['#5a5a58', '#a9aaa8'],
  rule: ['#dcdcd8', '#363a40'],
  grid: ['#e9e9e5', '#2a2e33'],
  individual: ['#85857f', '#8d8f8c'],
  uniform: ['#0072b2', '#56b4e9'],
  greedy: ['#c04a00', '#f28c3c'],
  learned: ['#007a5a', '#2fc3a0'],
  ensemble: ['#9a3f7c', '#dd93c4'],
  // From low to high, for surfaces.
  s0: ['#eef3f6', '#1b252c'],
  s1: ['#d3e1ea', '#1f323f'],
  s2: ['#b2cbdb', '#244255'],
  s3: ['#8db3cb', '#2b566f'],
  s4: ['#6699b9', '#376d8b'],
  s5: ['#417da3', '#4c87a8'],
  s6: ['#24618a', '#6aa3c3'],
  s7: ['#0d466d', '#93c0db'],
} as const;

export type Colour = keyof typeof COLOURS;

/** A colour as charts have it: the page's style sheet says what it is. */
export const colour = (name: Colour): string => `var(--${name})`;

/** Steps of the colours for surfaces. */
export const SURFACE: readonly Colour[] = ['s0', 's1', 's2', 's3', 's4', 's5', 's6', 's7'];

/** How a kind of method looks in every chart. */
export interface Look {
  colour: Colour;
  /** As Vega names it. */
  shape: string;
  /** Whether its mark is filled. */
  filled: boolean;
  /** In a key. */
  label: string;
}

export const LOOKS: Record<MethodKind, Look> = {
  base: { colour: 'individual', shape: 'cross', filled: true, label: 'base' },
  individual: { colour: 'individual', shape: 'circle', filled: true, label: 'individual model' },
  soup: { colour: 'learned', shape: 'diamond', filled: true, label: 'given soup' },
  uniform: { colour: 'uniform', shape: 'square', filled: true, label: 'uniform soup' },
  greedy: { colour: 'greedy', shape: 'triangle-up', filled: true, label: 'greedy soup' },
  'greedy-random': {
    colour: 'greedy',
    shape: 'triangle-up',
    filled: false,
    label: 'greedy soup, random order',
  },
  learned: { colour: 'learned', shape: 'diamond', filled: true, label: 'learned soup' },
  ensemble: { colour: 'ensemble', shape: 'triangle-down', filled: true, label: 'ensemble' },
  'greedy-ensemble': {
    colour: 'ensemble',
    shape: 'triangle-down',
    filled: false,
    label: 'greedy ensemble',
  },
  oracle: { colour: 'ink', shape: 'circle', filled: false, label: 'oracle' },
};

export const FONT =
  "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', 'Liberation Sans', Arial, sans-serif";

/** Labels and titles of axes and legends. */
export const LABELS = {
  labelColor: colour('muted'),
  titleColor: colour('ink'),
  labelFont: FONT,
  titleFont: FONT,
  labelFontSize: 12,
  titleFontSize: 12,
  titleFontWeight: 'normal',
};

/** The line of an axis and its ticks. */
export const AXIS_LINES = { domainColor: colour('rule'), tickColor: colour('rule') };

const axis = {
  ...LABELS,
  ...AXIS_LINES,
  gridColor: colour('grid'),
  labelPadding: 5,
  titlePadding: 8,
  tickSize: 4,
  labelLimit: 260,
};

/** Vega-Lite's configuration of every chart. */
export const CHART_CONFIG = {
  background: null,
  font: FONT,
  // The figure has one description; the marks are not for a screen reader.
  aria: false,
  padding: 4,
  view: { stroke: null },
  axis,
  header: {
    labelColor: colour('ink'),
    titleColor: colour('ink'),
    labelFont: FONT,
    titleFont: FONT,
    labelFontSize: 12,
    labelFontWeight: 600,
    labelLimit: 260,
    title: null,
  },
  text: { color: colour('ink'), font: FONT, fontSize: 12 },
  point: { size: 64, strokeWidth: 1.6 },
  rule: { color: colour('ink') },
  line: { strokeWidth: 2 },
};

const variables = (which: 0 | 1): string =>
  Object.entries(COLOURS)
    .map(([name, pair]) => `--${name}:${pair[which]}`)
    .join(';');

/** Style sheet that gives colours their values, light and dark. */
export const COLOUR_CSS = `:root{color-scheme:light dark;${variables(0)}}
@media (prefers-color-scheme:dark){:root{${variables(1)}}}
@media print{:root{color-scheme:light;${variables(0)}}}`;

/** An SVG that stands alone: with the light colours, for programs that know no style sheets. */
export const withLightColours = (svg: string): string =>
  svg.replace(/var\(--([a-z0-9]+)\)/g, (all, name: string) =>
    Object.hasOwn(COLOURS, name) ? COLOURS[name as Colour][0] : all,
  );
