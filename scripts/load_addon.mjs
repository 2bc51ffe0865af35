// For scripts/sanitize.sh: loads the addon here and in a worker, which makes a soup and ends; twice.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Worker } from 'node:worker_threads';

const folder = mkdtempSync(join(tmpdir(), 'stockpot-load-'));
const at = (path) => new URL(path, import.meta.url).href;
const WORKER = `
  import(${JSON.stringify(at('../dist/index.js'))}).then(({ uniform }) =>
    uniform(JSON.parse(process.env.INPUTS), process.env.OUT, { threads: 1, overwrite: true }));
`;
const models = ['ft00', 'ft01'].map(
  (n) => new URL(`../examples/digits/ingredients/${n}`, import.meta.url).pathname,
);
const env = { ...process.env, INPUTS: JSON.stringify(models), OUT: join(folder, 'soup') };
try {
  for (let round = 0; round < 2; round++) {
    const worker = new Worker(WORKER, { eval: true, env });
    const code = await new Promise((resolve, reject) =>
      worker.on('exit', resolve).on('error', reject),
    );
    if (code !== 0) throw new Error(`the worker ended with ${code}`);
  }
} finally {
  rmSync(folder, { recursive: true, force: true });
}
