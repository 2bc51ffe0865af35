import { mkdir, rm, truncate } from 'node:fs/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { finished, startScript } from '../helpers/cli.js';
import { encode } from '../helpers/floats.js';
import { listing, useFolder } from '../helpers/folder.js';
import { put, putTensors, rawFile, tensor } from '../helpers/safetensors.js';
import { sanitized } from '../helpers/sanitized.js';

const at = useFolder();
const library = new URL('../../dist/index.js', import.meta.url).href;

/** Files that take no room: so much to read that a job is under way while other things happen. */
let large: string[] = [];
let small: string[] = [];
const BYTES = 400e6;

beforeAll(async () => {
  large = [0, 1, 2, 3].map((i) => at(`large ${i}.safetensors`));
  const info = { dtype: 'F32', shape: [BYTES / 4], data_offsets: [0, BYTES] };
  const header = rawFile(JSON.stringify({ w: info }));
  for (const path of large) {
    await put(path, Buffer.concat([header, encode('F32', [7])]));
    await truncate(path, header.length + BYTES);
  }
  small = await Promise.all(
    [1, 3].map((x) => putTensors(at(`small ${x}.safetensors`), [tensor('w', 'F32', [64], x)])),
  );
});
afterAll(async () => {
  for (const path of large) await rm(path, { force: true });
});

/** Runs a module with `stockpot` and `job`, and gives what it prints as JSON. */
// biome-ignore lint/suspicious/noExplicitAny: each script prints its own
async function said(script: string, job: object, exit = 0): Promise<any> {
  const env = { ...process.env, JOB: JSON.stringify({ library, large, small, ...job }) };
  const child = startScript(`const job = JSON.parse(process.env.JOB);\n${script}`, { env });
  const { code, signal, stdout, stderr } = await finished(child);
  expect([code, signal, stderr]).toEqual([exit, null, '']);
  return stdout === '' ? undefined : JSON.parse(stdout);
}

describe('eight worker threads', () => {
  /** In a worker: makes soups, aborts one, and ends as it is told to, in the middle of a large one. */
  const WORKER = `
    const { workerData: job, parentPort } = require('node:worker_threads');
    import(job.library).then(async ({ uniform }) => {
      const out = (name) => job.folder + '/' + job.id + ' ' + name;
      const soup = await uniform(job.small, out('whole.safetensors'), { threads: 2 });
      const stop = new AbortController();
      const aborted = await uniform(job.large, out('aborted'), {
        threads: 2, signal: stop.signal, onProgress: () => stop.abort(),
      }).catch((e) => e.code);
      parentPort.postMessage(soup.sha256 + ' ' + aborted);
      if (job.end === 'return') return;
      await uniform(job.large, out('half'), {
        threads: 2,
        onProgress: () => job.end === 'exit' ? process.exit(5) : parentPort.postMessage('terminate'),
      });
    });`;
  const MAIN = `
    import { Worker } from 'node:worker_threads';
    const ends = ['return', 'exit', 'terminate'];
    const run = (id, end) => new Promise((resolve, reject) => {
      const worker = new Worker(job.worker, { eval: true, execArgv: [], workerData: { ...job, id, end } });
      const heard = [];
      worker.on('message', (m) => m === 'terminate' ? worker.terminate() : heard.push(m));
      worker.on('error', reject);
      worker.on('exit', (code) => resolve([end, heard, code]));
    });
    const all = [];
    for (let round = 0; round < 2; round++)
      all.push(...await Promise.all(Array.from({ length: 8 }, (_, i) => run(round * 8 + i, ends[i % 3]))));
    console.log(JSON.stringify(all));`;

  it('load, make soups, abort and end as they like, twice; nothing half-written is left', async () => {
    const folder = at('workers');
    await mkdir(folder);
    const all: [string, string[], number][] = await said(MAIN, { folder, worker: WORKER });
    expect(all).toHaveLength(16);
    for (const [end, heard, code] of all) {
      expect(heard).toEqual([expect.stringMatching(/^[0-9a-f]{64} ABORTED$/)]);
      expect([end, code]).toEqual([end, { return: 0, exit: 5, terminate: 1 }[end]]);
    }
    expect(new Set(all.map(([, heard]) => heard[0])).size).toBe(1);
    const whole = all.map((_, i) => `${i} whole.safetensors`).sort();
    expect(await listing(folder)).toEqual(whole);
  });

  it('process.exit() of the main thread while eight workers are at it', async () => {
    const folder = at('exit');
    await mkdir(folder);
    const script = `
      import { Worker } from 'node:worker_threads';
      let begun = 0;
      for (let id = 0; id < 8; id++) {
        const code = \`
          const { workerData: job, parentPort } = require('node:worker_threads');
          let told = false;
          import(job.library).then(({ uniform }) => uniform(job.large, job.folder + '/' + job.id, {
            threads: 1, onProgress: () => { if (!told) parentPort.postMessage(1); told = true; },
          }));\`;
        const worker = new Worker(code, { eval: true, execArgv: [], workerData: { ...job, id } });
        worker.on('message', () => { if (++begun === 3) process.exit(6); });
      }`;
    await said(script, { folder }, 6);
    expect(await listing(folder)).toEqual([]);
  });
});

describe('the event loop', () => {
  it('keeps turning while two checkpoints are compared', async () => {
    // Of the time that the job takes, no turn may wait for more than a part; a job that blocked would be one turn.
    const script = `
      let last = performance.now(), longest = 0, turns = 0;
      const turn = () => {
        const now = performance.now();
        longest = Math.max(longest, now - last);
        last = now;
        turns++;
      };
      const timer = setInterval(turn, 1);
      const began = performance.now();
      await stockpot.diff(job.large[0], job.large[1], { threads: 1 });
      turn();
      clearInterval(timer);
      console.log(JSON.stringify({ share: longest / (performance.now() - began), turns }));`;
    const { share, turns } = await said(script, {});
    expect(share).toBeLessThan(0.5);
    expect(turns).toBeGreaterThan(20);
  });
});

describe.skipIf(sanitized)('memory', () => {
  it('is given back after thousands of small jobs, aborted ones too', async () => {
    // The median of each of eight parts, from the third on: before, caches fill and code is compiled.
    const script = `
      const parts = [];
      const { files, tensors } = await stockpot.openCheckpoint(job.small[0]);
      if (files.length !== 1 || tensors.size !== 1) throw new Error('unexpected');
      for (let part = 0; part < 8; part++) {
        const seen = [];
        for (let i = 0; i < 150; i++) {
          await stockpot.diff(job.small[0], job.small[1], { threads: 2 });
          await stockpot.angles(job.small, { threads: 2 }).catch(() => {});
          if (i % 20 === 0) {
            await stockpot.uniform(job.small, job.folder + '/soup.safetensors', { overwrite: true });
            const signal = AbortSignal.abort();
            await stockpot.uniform(job.small, job.folder + '/aborted', { signal }).catch(() => {});
            globalThis.gc();
            seen.push(process.memoryUsage.rss() / 2 ** 20);
          }
        }
        parts.push(seen.sort((a, b) => a - b)[seen.length >> 1]);
      }
      console.log(JSON.stringify(parts));`;
    const folder = at('jobs');
    await mkdir(folder);
    const env = { NODE_OPTIONS: '--expose-gc' };
    const child = startScript(`const job = JSON.parse(process.env.JOB);\n${script}`, {
      env: { ...process.env, ...env, JOB: JSON.stringify({ small, folder }) },
    });
    const { code, stdout, stderr } = await finished(child);
    expect([code, stderr]).toEqual([0, '']);
    const parts: number[] = JSON.parse(stdout).slice(2);
    // The least-squares slope in MB a part, of some 300 jobs: ten kilobytes that each of them kept would be 3.
    const middle = (parts.length - 1) / 2;
    const mean = parts.reduce((a, b) => a + b) / parts.length;
    const slope =
      parts.reduce((sum, y, x) => sum + (x - middle) * (y - mean), 0) /
      parts.reduce((sum, _, x) => sum + (x - middle) ** 2, 0);
    expect(slope, parts.map((p) => p.toFixed(1)).join(' ')).toBeLessThan(2);
    expect(await listing(folder)).toEqual(['soup.safetensors']);
  }, 400_000);

  it('of buffers is given back when a job is over, before any garbage is collected', async () => {
    // Each job's ring has ten chunks of a megabyte.
    const script = `
      const rss = () => process.memoryUsage.rss() / 2 ** 20;
      const jobs = (n) => Promise.all(Array.from({ length: n }, () =>
        stockpot.diff(job.large[0], job.large[1], { threads: 4, memory: 256 * 2 ** 20 })));
      await jobs(1);
      const before = rss();
      await jobs(4);
      await jobs(4);
      console.log(JSON.stringify({ grown: rss() - before, held: stockpot.memoryHeld() }));`;
    const { grown, held } = await said(script, {});
    expect(held).toEqual({ buffers: 0, networks: 0 });
    expect(grown).toBeLessThan(25);
  }, 400_000);
});
