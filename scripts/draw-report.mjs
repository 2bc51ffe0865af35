// Draws docs/report.png: the first screen of the demo's report (npm run demo writes it), in Debian's Chromium.
import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { chromium } from 'playwright-core';
import sharp from 'sharp';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const report = join(root, '.scratch/demo/report.html');
if (!existsSync(report)) {
  console.error('Run npm run demo first: it writes the report.');
  process.exit(1);
}
const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
  args: ['--no-sandbox', '--disable-gpu', '--disable-background-networking'],
});
const page = await browser.newPage({ viewport: { width: 1000, height: 760 } });
await page.goto(pathToFileURL(report).href);
const height = await page.evaluate('document.querySelector("summary").getBoundingClientRect().top');
const picture = await page.screenshot({
  clip: { x: 0, y: 0, width: 1000, height: Math.ceil(height) },
});
await browser.close();
const { size } = await sharp(picture)
  .png({ palette: true, colours: 64 })
  .toFile(join(root, 'docs/report.png'));
console.log(`docs/report.png: ${size} bytes`);
