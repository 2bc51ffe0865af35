// The report without a browser: what it says, that it holds what it needs, and what it does with runs that are wrong.
import { readFileSync, writeFileSync } from 'node:fs';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { compare } from '../../lib/analysis/compare/index.js';
import type { Comparison } from '../../lib/analysis/compare/types.js';
import { toCsv } from '../../lib/analysis/report/figure.js';
import { report } from '../../lib/analysis/report/index.js';
import { COLOURS } from '../../lib/analysis/report/theme.js';
import { elsewhere, headline } from '../../lib/analysis/report/verdict.js';
import { readRun, showRun } from '../../lib/analysis/run_file.js';
import { StockpotError } from '../../lib/errors.js';
import { uniform } from '../../lib/recipes/uniform.js';
import { jsonOf, root, stockpot } from '../helpers/cli.js';
import { failure } from '../helpers/errors.js';
import { useFolder } from '../helpers/folder.js';
import { madeUpSections, numbers } from './made_up.js';

const at = useFolder();
const digits = join(root, 'examples/digits');
const ingredients = [0, 1, 5].map((i) => join(digits, `ingredients/ft0${i}`));
let comparison: Comparison;
let text: string;
let run: string;

beforeAll(async () => {
  comparison = await compare(ingredients, {
    data: join(digits, 'heldout'),
    test: join(digits, 'test.tar'),
    shifted: { noise: join(digits, 'test-noise.tar') },
    base: join(digits, 'base'),
    subset: [20],
    repeats: 3,
    resamples: 100,
  });
  text = showRun({ compare: comparison, ...madeUpSections(ingredients) });
  run = at('run.json');
  writeFileSync(run, text);
});

const copy = (): Comparison => structuredClone(comparison);

/** Tags closed in the order in which they were opened. */
function unbalanced(html: string): string[] {
  const empty = new Set(['meta', 'br', 'path', 'rect', 'line', 'input', '!doctype']);
  const open: string[] = [];
  const wrong: string[] = [];
  for (const [, closing, name, self] of html.matchAll(/<(\/?)([a-z!][a-z0-9]*)[^>]*?(\/?)>/gi)) {
    const tag = (name as string).toLowerCase();
    if (closing) {
      if (open.pop() !== tag) wrong.push(tag);
    } else if (!self && !empty.has(tag)) open.push(tag);
  }
  return [...wrong, ...open];
}

describe('the HTML', () => {
  it('loads nothing and runs nothing', async () => {
    const made = await report(run, at('report.html'));
    const html = await readFile(at('report.html'), 'utf8');
    expect(made.bytes).toBe(Buffer.byteLength(html));
    expect(html).not.toMatch(/<(script|link|img|iframe|object|embed|form|base)\b/i);
    expect(html).not.toMatch(/\b(src|srcset|xlink:href|action|on[a-z]+)=/i);
    expect(html).not.toMatch(/url\((?!#)|@import/i);
    for (const [, to] of html.matchAll(/url\(#([^)]*)\)/g)) expect(html).toContain(` id="${to}"`);
    expect([...html.matchAll(/href="([^"]*)"/g)].every((m) => m[1]?.startsWith('#'))).toBe(true);
    const addresses = [...html.matchAll(/https?:\/\/[^"'\s<]+/g)].map((m) => m[0]);
    expect(new Set(addresses)).toEqual(new Set(['http://www.w3.org/2000/svg']));
    expect(html).toContain("default-src 'none'");
    expect(unbalanced(html)).toEqual([]);
  });

  it('gives every figure a title, a description, a caption and its numbers', async () => {
    const { figures } = await report(run, at('figures.html'));
    const html = await readFile(at('figures.html'), 'utf8');
    expect(figures).toEqual([
      'differences',
      'scatter',
      'models',
      'ensemble',
      'calibration',
      'reliability',
      'subset',
      'angles',
      'landscape-loss',
      'landscape-accuracy',
      'line',
      'gap',
    ]);
    const parts = html.split('<figure ').slice(1);
    expect(parts).toHaveLength(figures.length);
    for (const part of parts) {
      expect(part).toMatch(/<h[23] class="figure">[^<]+</);
      expect(part).toMatch(/<svg role="img" aria-label="[^"]{20,}"/);
      expect(part).toMatch(/<figcaption>[^<]{20,}</);
      expect(part).toMatch(/<details><summary>Numbers of this figure/);
    }
    const ids = [...html.matchAll(/ id="([^"]+)"/g)].map((m) => m[1]);
    expect(new Set(ids).size).toBe(ids.length);
    for (const [, to] of html.matchAll(/href="#([^"]+)"/g)) expect(ids).toContain(to);
  });

  it('uses no colour but those that the style sheet has, light and dark', async () => {
    await report(run, at('colours.html'));
    const html = await readFile(at('colours.html'), 'utf8');
    const used = new Set([...html.matchAll(/var\(--([a-z0-9]+)\)/g)].map((m) => m[1] as string));
    for (const name of used) expect(Object.keys(COLOURS)).toContain(name);
    const body = html.slice(html.indexOf('<body>'));
    expect(body).not.toMatch(/(fill|stroke)="(#|rgb|black|white|steelblue)/i);
  });

  it('shows names that are markup as text', async () => {
    const evil = '</svg><script>alert("1")</script>&amp;\u0000\u001b[31m';
    const wrong = copy();
    wrong.ingredients = wrong.ingredients.map((_, i) => `/zoo/${evil}${i}`);
    wrong.notes = [evil];
    for (const m of wrong.methods) m.label = `${m.label} ${evil}`;
    for (const s of wrong.sets) s.path = evil;
    writeFileSync(
      at('evil.json'),
      showRun({ compare: wrong, ...madeUpSections(wrong.ingredients) }),
    );
    await report(at('evil.json'), at('evil.html'));
    const html = await readFile(at('evil.html'), 'utf8');
    expect(html).not.toContain('<script');
    // biome-ignore lint/suspicious/noControlCharactersInRegex: that is what is looked for
    expect(html).not.toMatch(/[\u0000-\u0008\u000b\u000c\u000e-\u001f]/);
    expect(html).toContain('&lt;script&gt;');
    expect(html).toContain('\uFFFD');
    expect(unbalanced(html)).toEqual([]);
  });
});

describe('contrast', () => {
  const channel = (v: number) => (v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
  const luminance = (hex: string) => {
    const [r, g, b] = [1, 3, 5].map((i) => channel(Number.parseInt(hex.slice(i, i + 2), 16) / 255));
    return 0.2126 * (r as number) + 0.7152 * (g as number) + 0.0722 * (b as number);
  };
  /** As WCAG 2 defines it. */
  const contrast = (a: string, b: string) => {
    const [x, y] = [luminance(a), luminance(b)].sort((p, q) => q - p) as [number, number];
    return (x + 0.05) / (y + 0.05);
  };

  it.each([
    ['light', 0],
    ['dark', 1],
  ] as const)('of text is 4.5, of marks 3: %s', (_, which) => {
    const of = (name: keyof typeof COLOURS) => COLOURS[name][which];
    for (const page of ['page', 'panel'] as const) {
      for (const name of ['ink', 'muted'] as const)
        expect(contrast(of(name), of(page)), `${name} on ${page}`).toBeGreaterThanOrEqual(4.5);
      for (const name of ['individual', 'uniform', 'greedy', 'learned', 'ensemble'] as const)
        expect(contrast(of(name), of(page)), `${name} on ${page}`).toBeGreaterThanOrEqual(3);
    }
  });
});

describe('the first sentence', () => {
  const set = (value: number, low: number, high: number, moreThanNoise: boolean) => {
    const c = copy();
    for (const m of c.methods) {
      const r = m.sets.test;
      if (m.kind !== 'greedy' || !r?.difference) continue;
      r.difference = { ...r.difference, value, low, high, moreThanNoise };
    }
    return c;
  };

  it.each([
    [
      0.012,
      0.004,
      0.02,
      true,
      'The greedy soup beats the best single model on test by 1.2 points. That is more than noise.',
    ],
    [
      0.012,
      -0.004,
      0.03,
      false,
      'The greedy soup is 1.2 points ahead of the best single model on test. That is within noise.',
    ],
    [
      -0.002,
      -0.02,
      0.01,
      false,
      'The greedy soup is 0.2 points behind the best single model on test. That is within noise.',
    ],
    [
      -0.03,
      -0.05,
      -0.01,
      true,
      'The greedy soup is worse than the best single model on test by 3.0 points. That is more than noise.',
    ],
    [0, -0.01, 0.01, false, 'The greedy soup is as accurate as the best single model on test.'],
    [Number.NaN, Number.NaN, Number.NaN, false, 'The greedy soup could not be judged on test'],
  ])('of %d [%d, %d]', (value, low, high, moreThanNoise, sentence) => {
    expect(headline(set(value, low, high, moreThanNoise))).toBe(sentence);
  });

  it('is of the held-out set where there is no other, and says that this is too good', async () => {
    const c = copy();
    c.sets = c.sets.filter((s) => s.role === 'heldout');
    expect(headline(c)).toContain('on the held-out set');
    writeFileSync(at('heldout.json'), showRun({ compare: c }));
    await report(at('heldout.json'), at('heldout.html'));
    expect(await readFile(at('heldout.html'), 'utf8')).toContain('are too good');
  });

  it('goes on with the shifted sets', () => {
    expect(elsewhere(comparison)).toMatch(
      /^Under shift: [+−]?[\d.]+ \[.*\] points on noise, [a-z ]+\.$/,
    );
  });
});

describe('other formats', () => {
  it('csv has the numbers in full, a file a figure', async () => {
    const made = await report(run, at('csv'), { format: 'csv' });
    expect((await readdir(at('csv'))).sort()).toEqual(made.figures.map((f) => `${f}.csv`).sort());
    const lines = (await readFile(at('csv', 'scatter.csv'), 'utf8')).trimEnd().split('\r\n');
    expect(lines).toHaveLength(1 + comparison.methods.length);
    const line = lines.find((l) => l.startsWith('uniform soup,'))?.split(',');
    const u = comparison.methods.find((m) => m.kind === 'uniform');
    expect(Number(line?.[1])).toBe(100 * (u?.sets.test?.accuracy.value as number));
    expect(Number(line?.[4])).toBe(100 * (u?.shiftMean?.accuracy.value as number));
  });

  it('csv quotes what needs it, and makes no formula of a name', () => {
    const table = {
      columns: ['a', 'b,c'],
      rows: [
        ['say "x"', -1.5],
        ['=1+1', null],
      ],
    };
    expect(toCsv(table)).toBe('a,"b,c"\r\n"say ""x""",-1.5\r\n\'=1+1,\r\n');
  });

  it('svg stands alone: plain colours', async () => {
    await report(run, at('scatter.svg'), { figure: 'scatter' });
    const svg = await readFile(at('scatter.svg'), 'utf8');
    expect(svg).toMatch(/^<svg [^>]*xmlns="http:\/\/www\.w3\.org\/2000\/svg"/);
    expect(svg).not.toContain('var(');
    expect(svg).toContain(COLOURS.greedy[0]);
    expect(unbalanced(svg)).toEqual([]);
  });

  it('leaves the numbers of axes and keys as they are', async () => {
    const small = madeUpSections(ingredients);
    for (const p of small.landscape?.points ?? []) p.loss = 1 + (p.loss as number) / 1000;
    writeFileSync(at('small.json'), showRun(small));
    await report(at('small.json'), at('small.svg'), { figure: 'landscape-loss' });
    const svg = await readFile(at('small.svg'), 'utf8');
    expect(svg).toMatch(/>1\.00\d</);
  });

  it('json is the run again; several runs are put together', async () => {
    writeFileSync(at('one.json'), showRun({ compare: comparison }));
    writeFileSync(at('two.json'), JSON.stringify(madeUpSections(ingredients).gap));
    await report([at('one.json'), at('two.json')], at('both.json'));
    const { sections } = await readRun(at('both.json'));
    expect(sections).toEqual(
      JSON.parse(JSON.stringify({ compare: comparison, gap: madeUpSections(ingredients).gap })),
    );
  });
});

it('what compare --all --json prints is a run too', async () => {
  const { gap, line } = madeUpSections(ingredients);
  writeFileSync(at('printed.json'), JSON.stringify({ ...comparison, gap, line, output: null }));
  expect(Object.keys((await readRun(at('printed.json'))).sections)).toEqual([
    'compare',
    'line',
    'gap',
  ]);
});

describe('a soup', () => {
  it('is described by its record, and measured against its ingredients', async () => {
    const soup = at('soup');
    await uniform(ingredients, soup, { hash: true });
    await report(soup, at('soup.html'));
    const plain = await readFile(at('soup.html'), 'utf8');
    expect(plain).toContain('A uniform soup of 3 of 3 ingredients, not measured here.');
    expect(plain).toContain('give --data HELDOUT');
    expect(plain).toMatch(/sha256 [0-9a-f]{16}…/);
    await report(soup, at('measured.html'), {
      data: join(digits, 'heldout'),
      test: join(digits, 'test.tar'),
      resamples: 100,
    });
    const measured = await readFile(at('measured.html'), 'utf8');
    const u = comparison.methods.find((m) => m.kind === 'uniform');
    const difference = u?.sets.test?.difference?.value as number;
    expect(measured).toContain(`${(100 * Math.abs(difference)).toFixed(1)} points`);
    expect(measured).toContain('1/3 each');
  });

  it('without its ingredients is refused', async () => {
    const soup = at('lost.safetensors');
    await uniform(ingredients, soup);
    const bytes = readFileSync(soup);
    // The same length, so that the header stays one.
    writeFileSync(
      soup,
      Buffer.from(
        bytes.toString('latin1').replaceAll('ingredients/ft0', 'ingredients/xx0'),
        'latin1',
      ),
    );
    const error = await failure(
      report(soup, at('lost.html'), { data: join(digits, 'heldout') }),
      'NOT_FOUND',
    );
    expect(error.details).toHaveLength(3);
    expect(await readdir(at())).not.toContain('lost.html');
  });

  it('a checkpoint without a record is said to have none', async () => {
    await report(ingredients[0] as string, at('plain.html'));
    expect(await readFile(at('plain.html'), 'utf8')).toContain('carries no record');
  });
});

describe('what cannot be', () => {
  it('an output that exists, or that is the input', async () => {
    writeFileSync(at('there.html'), 'mine');
    await failure(report(run, at('there.html')), 'OUTPUT');
    await failure(report(run, run, { overwrite: true }), 'OUTPUT');
    expect(readFileSync(at('there.html'), 'utf8')).toBe('mine');
    expect(readFileSync(run, 'utf8')).toBe(text);
    await report(run, at('there.html'), { overwrite: true });
    expect(readFileSync(at('there.html'), 'utf8')).toContain('<!doctype html>');
  });

  it('a figure that is not there', async () => {
    const error = await failure(report(run, at('x.csv'), { figure: 'nothing' }), 'USAGE');
    expect(error.remedy).toContain('scatter');
  });

  it.each([
    ['nothing', ''],
    ['no JSON', '{"sections":'],
    ['a list', '[]'],
    ['nothing known', '{"sections":{"weather":{}}}'],
    ['a comparison that is empty', '{"sections":{"compare":{}}}'],
  ])('a run that is %s', async (_, content) => {
    writeFileSync(at('bad.json'), content);
    const error = await failure(report(at('bad.json'), at('bad.html')), 'FORMAT');
    expect(error.message).toContain('bad.json');
    expect(error.remedy).toContain('compare');
  });

  it('a missing run, a folder that is a file', async () => {
    await failure(report(at('none.json'), at('none.html')), 'NOT_FOUND');
    await failure(report(run, run.replace('run.json', 'there.html'), { format: 'csv' }), 'IO');
  });

  it('whatever a run holds, the report is made or refused', async () => {
    const random = numbers(99);
    const places: [object, string][] = [];
    const pick = (value: unknown): void => {
      places.length = 0;
      const walk = (v: unknown): void => {
        if (typeof v !== 'object' || v === null) return;
        for (const key of Object.keys(v)) {
          places.push([v, key]);
          walk((v as Record<string, unknown>)[key]);
        }
      };
      walk(value);
    };
    const replacements = [null, -1, 1e308, '', 'x', [], {}, true, undefined, '\u202e<b>'];
    let refused = 0;
    let made = 0;
    for (let i = 0; i < 60; i++) {
      const value = JSON.parse(text);
      pick(value.sections);
      // Half of the changes near the top, where most is decided.
      const most = i % 2 ? places.length : Math.min(places.length, 400);
      const [parent, key] = places[Math.floor(random() * most)] as [object, string];
      (parent as Record<string, unknown>)[key] =
        replacements[Math.floor(random() * replacements.length)];
      writeFileSync(at('fuzz.json'), JSON.stringify(value));
      const outcome = await report(at('fuzz.json'), at('fuzz.html'), { overwrite: true }).then(
        () => 'made',
        (e) => e,
      );
      if (outcome === 'made') made++;
      else {
        expect(outcome, String(outcome.stack)).toBeInstanceOf(StockpotError);
        refused++;
      }
    }
    expect(made).toBeGreaterThan(0);
    expect(refused).toBeGreaterThan(10);
  });
});

describe('the commands', () => {
  it('compare writes a run that report shows', async () => {
    const out = at('cli.json');
    const done = await stockpot([
      'compare',
      ...ingredients.slice(0, 2),
      '--data',
      join(digits, 'heldout'),
      '--shifted',
      `noise=${join(digits, 'test-noise.tar')}`,
      '--resamples',
      '100',
      '-o',
      out,
      '--quiet',
      '--json',
    ]);
    expect(done.stderr).toBe('');
    const json = jsonOf(done);
    expect(json.output).toBe(out);
    expect(json.sets.map((s: { name: string }) => s.name)).toEqual(['heldout', 'noise']);
    expect((await readRun(out)).sections.compare?.methods).toEqual(json.methods);
    const shown = await stockpot(['report', out, '-o', at('cli.html'), '--json']);
    expect(jsonOf(shown).figures).toContain('scatter');
  });

  it.each([
    [['compare', 'x', '--data', 'y', '--shifted', 'nameless'], /NAME=DATA/],
    [['compare', 'x'], /--data/],
    [['compare', 'x', '--data', 'y', '--subset', '10,x'], /whole number/],
    [['report', 'x.json'], /-o OUT/],
    [['report', 'x.json', '-o', 'y', '--format', 'pdf'], /html, json, csv, svg/],
  ])('refuses %j', async (args, message) => {
    const { code, stderr } = await stockpot(args);
    expect(code).toBe(2);
    expect(stderr).toMatch(message);
  });
});
