import { StockpotError } from '../../errors.js';
import { CHART_CONFIG } from './theme.js';

/** A chart: Vega-Lite's JSON, or Vega's where Vega-Lite has no such mark. */
export type ChartSpec = { vegaLite: object } | { vega: object };

/** Draws a chart as SVG. Nothing is loaded: all data is in the specification. */
export type Renderer = (spec: ChartSpec) => Promise<string>;

/**
 * The charts' libraries, which only reports need: they are optional, as they are as large as all the rest.
 * @throws StockpotError UNSUPPORTED where they are not installed
 */
export async function loadRenderer(): Promise<Renderer> {
  const [vega, vegaLite] = await Promise.all([import('vega'), import('vega-lite')]).catch(
    (cause) => {
      throw new StockpotError(
        'UNSUPPORTED',
        'charts need the packages vega and vega-lite, which are not installed',
        {
          cause,
          remedy: 'Run: npm install vega vega-lite. (--format json needs neither.)',
        },
      );
    },
  );
  const silent = {
    level: () => silent,
    error: () => silent,
    warn: () => silent,
    info: () => silent,
    debug: () => silent,
  } as unknown as NonNullable<NonNullable<Parameters<typeof vegaLite.compile>[1]>['logger']>;
  const refuse = async (): Promise<never> => {
    throw new Error('a chart loads nothing');
  };
  return async (chart) => {
    const spec =
      'vega' in chart
        ? (chart.vega as object)
        : vegaLite.compile(chart.vegaLite as unknown as Parameters<typeof vegaLite.compile>[0], {
            config: CHART_CONFIG as object,
            logger: silent,
          }).spec;
    const view = new vega.View(vega.parse(spec as Parameters<typeof vega.parse>[0]), {
      renderer: 'none',
      logLevel: vega.Error,
      loader: { load: refuse, sanitize: refuse, http: refuse, file: refuse } as never,
    });
    try {
      return tidy(await view.toSVG());
    } finally {
      view.finalize();
    }
  };
}

/** Takes out what a reader's browser does not need. */
const tidy = (svg: string): string =>
  svg
    .replace(/ (class="[^"]*"|aria-[a-z]+="[^"]*"|role="[^"]*"|xmlns:xlink="[^"]*")/g, '')
    // Coordinates, not the numbers that are read.
    .replace(/<[^>]+>/g, (tag) => tag.replace(/(\d+\.\d{2})\d+/g, '$1'))
    .replace(/ pointer-events="none"/g, '')
    // Names may hold what no document may.
    .replace(/\p{Cc}/gu, (c) => (/\s/.test(c) ? ' ' : '\uFFFD'));
