// The report in a browser: what it asks for, what axe says, what the keyboard reaches, how it looks.
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { type Browser, chromium, type Page } from 'playwright-core';
import sharp from 'sharp';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { compare } from '../../lib/analysis/compare/index.js';
import { report } from '../../lib/analysis/report/index.js';
import { showRun } from '../../lib/analysis/run_file.js';
import { root } from '../helpers/cli.js';
import { madeUpSections } from './made_up.js';

const EXECUTABLE = '/usr/bin/chromium';
/** For a browser that starts, loads and draws on a busy machine, in ms. */
const PATIENCE = 120_000;
const there = () => spawnSync(EXECUTABLE, ['--version']).status === 0;

/** Why it cannot be tested here, or null. */
function missing(): string | null {
  if (there()) return null;
  const apt = (...args: string[]) => spawnSync('apt-get', args, { stdio: 'ignore' }).status === 0;
  const packages = ['chromium', 'fonts-dejavu-core'];
  if (process.getuid?.() === 0 && apt('update', '-qq') && apt('install', '-y', '-qq', ...packages))
    return there() ? null : 'chromium was installed but does not start';
  return 'chromium is not there and cannot be installed (Debian: chromium)';
}

const reason = missing();
if (reason) console.warn(`skipped: ${reason}`);

const pictures = join(root, '.scratch/report');
const folder = mkdtempSync(join(tmpdir(), 'stockpot-report-'));
const digits = join(root, 'examples/digits');
const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
const file = join(folder, 'report.html');
let browser: Browser;

beforeAll(async () => {
  if (reason) return;
  mkdirSync(pictures, { recursive: true });
  const ingredients = [0, 1, 2, 3, 4, 5, 6, 7].map((i) => join(digits, `ingredients/ft0${i}`));
  const result = await compare(ingredients, {
    data: join(digits, 'heldout'),
    test: join(digits, 'test.tar'),
    shifted: { noise: join(digits, 'test-noise.tar'), again: join(digits, 'test.tar') },
    base: join(digits, 'base'),
    subset: [20, 100],
    resamples: 300,
  });
  const run = join(folder, 'run.json');
  writeFileSync(run, showRun({ compare: result, ...madeUpSections(ingredients) }));
  await report(run, file);
  browser = await chromium.launch({
    executablePath: EXECUTABLE,
    timeout: PATIENCE,
    args: [
      '--headless',
      '--no-sandbox',
      '--disable-gpu',
      '--disable-quic',
      '--no-first-run',
      '--disable-background-networking',
      '--disable-component-update',
      '--disable-sync',
    ],
  });
});

afterAll(async () => {
  await browser?.close();
  rmSync(folder, { recursive: true, force: true });
});

interface Opened {
  page: Page;
  said: string[];
  asked: string[];
}

async function open(
  colorScheme: 'light' | 'dark' = 'light',
  width = 1100,
  media: 'screen' | 'print' = 'screen',
): Promise<Opened> {
  const page = await browser.newPage({ viewport: { width, height: 900 }, colorScheme });
  page.setDefaultTimeout(PATIENCE);
  await page.emulateMedia({ media, colorScheme });
  const said: string[] = [];
  const asked: string[] = [];
  page.on('console', (m) => said.push(`${m.type()}: ${m.text()}`));
  page.on('pageerror', (e) => said.push(`error: ${e.message}`));
  page.on('request', (r) => asked.push(r.url()));
  await page.goto(pathToFileURL(file).href);
  return { page, said, asked };
}

/** Shares of the brightest red, green and blue over the picture. */
async function brightness(picture: Buffer): Promise<number> {
  const { channels } = await sharp(picture).stats();
  return channels.slice(0, 3).reduce((sum, c) => sum + c.mean, 0) / 3 / 255;
}

describe.skipIf(reason !== null)('the report in Chromium', () => {
  test('says nothing, asks for nothing, is under 2 MB', async () => {
    const { page, said, asked } = await open();
    expect(said).toEqual([]);
    expect(asked).toEqual([pathToFileURL(file).href]);
    expect(readFileSync(file).length).toBeLessThan(2_000_000);
    expect(await page.locator('figure svg[role=img]').count()).toBeGreaterThanOrEqual(12);
    await page.close();
  });

  test.each(['light', 'dark'] as const)('axe finds nothing wrong: %s', async (scheme) => {
    const { page } = await open(scheme);
    await page.evaluate(axe);
    await page.evaluate('for (const d of document.querySelectorAll("details")) d.open = true');
    const found = await page.evaluate<{ violations: string[]; passes: [string, number][] }>(`
      axe.run(document).then(({ violations, passes }) => ({
        violations: violations.map((v) => v.id + ': ' + v.nodes[0].html),
        passes: passes.map((p) => [p.id, p.nodes.length]),
      }))`);
    expect(found.violations).toEqual([]);
    const checked = new Map(found.passes);
    expect(checked.get('color-contrast')).toBeGreaterThan(100);
    expect(checked.get('svg-img-alt')).toBeGreaterThanOrEqual(12);
    await page.close();
  });

  test('the keyboard reaches all of it', async () => {
    const { page } = await open();
    const focusable = await page.locator('a[href], summary, [tabindex="0"]').count();
    const reached = new Set<string>();
    for (let i = 0; i < 2 * focusable; i++) {
      await page.keyboard.press('Tab');
      reached.add(
        await page.evaluate<string>(`(({ activeElement: e }) => [e.tagName, e.getAttribute('href') ??
          e.getAttribute('aria-label') ?? e.closest('figure')?.id].join(' '))(document)`),
      );
    }
    const hidden = await page.locator('details:not([open]) [tabindex="0"]').count();
    expect(reached.size).toBeGreaterThanOrEqual(focusable - hidden);
    const summary = page.locator('#figure-differences summary');
    await summary.focus();
    expect(await page.locator('#figure-differences table').isVisible()).toBe(false);
    await page.keyboard.press('Enter');
    expect(await page.locator('#figure-differences table').isVisible()).toBe(true);
    await page.close();
  });

  test.each([1100, 768, 390])(
    'does not need to be scrolled sideways at %i pixels',
    async (width) => {
      const { page } = await open('light', width);
      // Paths and fonts differ between machines: with some, words are wider than a line.
      for (const spacing of ['.3em', 'normal']) {
        await page.addStyleTag({ content: `*{letter-spacing:${spacing} !important}` });
        const [content, window] = await page.evaluate<[number, number]>(
          '[document.documentElement.scrollWidth, document.documentElement.clientWidth]',
        );
        expect(content, spacing).toBeLessThanOrEqual(window);
      }
      await page.screenshot({ path: join(pictures, `${width}.png`), fullPage: true });
      await page.close();
    },
  );

  test('is light, dark, and light on paper', async () => {
    const seen: Record<string, number> = {};
    for (const [name, scheme, media] of [
      ['light', 'light', 'screen'],
      ['dark', 'dark', 'screen'],
      ['print', 'dark', 'print'],
    ] as const) {
      const { page } = await open(scheme, 1100, media);
      const path = join(pictures, `${name}.png`);
      seen[name] = await brightness(await page.screenshot({ path, fullPage: true }));
      await page.close();
    }
    expect(seen.light).toBeGreaterThan(0.85);
    expect(seen.print).toBeGreaterThan(0.85);
    expect(seen.dark).toBeLessThan(0.25);
  });

  test('prints without cutting a figure off', async () => {
    // What A4 leaves between the margins.
    const { page } = await open('light', 688, 'print');
    // Fonts differ between machines: with some, text is wider.
    for (const spacing of ['.06em', 'normal']) {
      await page.addStyleTag({ content: `*{letter-spacing:${spacing} !important}` });
      const [content, paper] = await page.evaluate<[number, number]>(
        '[document.documentElement.scrollWidth, document.documentElement.clientWidth]',
      );
      expect(content, spacing).toBeLessThanOrEqual(paper);
    }
    const pdf = await page.pdf({ format: 'A4', path: join(pictures, 'report.pdf') });
    const pages = pdf.toString('latin1').match(/\/Type\s*\/Page\b/g)?.length ?? 0;
    expect(pages).toBeGreaterThan(3);
    expect(pages).toBeLessThan(20);
    await page.close();
  });
});
