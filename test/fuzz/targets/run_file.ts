import { sectionsOf } from '../../../lib/analysis/report/content.js';
import { pageOf } from '../../../lib/analysis/report/page.js';
import { readRun } from '../../../lib/analysis/run_file.js';
import { put, survives } from '../support.js';

/** What `compare … -o run.json` writes; a page is made of it, with charts left out. */
export async function fuzz(bytes: Buffer): Promise<void> {
  const path = put('run.json', bytes);
  await survives(async () => {
    const run = await readRun(path);
    sectionsOf(run);
    await pageOf(run, async () => '<svg></svg>');
  });
}
