// The service's parts, in this process.
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { STATUS_CODES } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { StockpotError } from '../../dist/index.js';
import { EventLog, stream } from '../../examples/service/src/events.js';
import { Jobs } from '../../examples/service/src/jobs.js';
import { Journal } from '../../examples/service/src/journal.js';
import { problemOf } from '../../examples/service/src/problem.js';
import { readSettings, SETTINGS } from '../../examples/service/src/settings.js';
import { root } from '../helpers/cli.js';
import type { Json } from './service.js';

const service = join(root, 'examples/service');
const json = (path: string) => JSON.parse(readFileSync(path, 'utf8'));

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'soups-parts-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

describe('the example', () => {
  test('names the versions that are tested here', () => {
    const { dependencies } = json(join(service, 'package.json'));
    const { devDependencies, dependencies: own } = json(join(root, 'package.json'));
    for (const [name, range] of Object.entries(dependencies)) {
      expect([name, devDependencies[name]]).toEqual([name, range]);
      expect(own[name]).toBeUndefined();
    }
    const sources = readdirSync(service, { recursive: true, encoding: 'utf8' });
    const imported = sources
      .filter((n) => n.endsWith('.js') && !n.includes('node_modules'))
      .flatMap((n) => [...readFileSync(join(service, n), 'utf8').matchAll(/from '([^.'][^']*)'/g)])
      .map((m) => m[1] as string)
      .filter((n) => !n.startsWith('node:') && n !== 'stockpot');
    expect([...new Set(imported)].sort()).toEqual(Object.keys(dependencies).sort());
  });

  test('has the document that it serves: node server.js --openapi > openapi.json', () => {
    const served = execFileSync(process.execPath, [join(service, 'server.js'), '--openapi'], {
      encoding: 'utf8',
    });
    expect(served).toBe(readFileSync(join(service, 'openapi.json'), 'utf8'));
    expect(JSON.parse(served).openapi).toBe('3.1.0');
  });

  test('has every setting in its README, with its default', () => {
    const text = readFileSync(join(service, 'README.md'), 'utf8');
    const rows = [...text.matchAll(/^\| `(SOUPS_\w+)` \| ([^|]*) \|/gm)].map((m) => [
      m[1],
      m[2]?.trim(),
    ]);
    const initial = (value: unknown) =>
      value === undefined ? 'must be set' : value === '' ? '' : `\`${value}\``;
    expect(rows).toEqual(SETTINGS.map(([name, , , value]) => [name, initial(value)]));
  });
});

describe('settings', () => {
  const needed = () => ({ SOUPS_ROOTS: folder, SOUPS_DATA: folder, SOUPS_TOKEN: 'x'.repeat(16) });

  test('are read, with sizes and seconds', () => {
    const tokens = join(folder, 'tokens');
    writeFileSync(tokens, `${'y'.repeat(20)}\n\n${'z'.repeat(20)}\n`);
    const found = readSettings({
      ...needed(),
      SOUPS_MEMORY: '1.5GiB',
      SOUPS_TTL: '0.5',
      SOUPS_TOKENS_FILE: tokens,
      PATH: 'x',
    });
    expect(found).toMatchObject({ memory: 1.5 * 2 ** 30, ttl: 500, port: 8080 });
    expect(found.tokens).toHaveLength(3);
    expect(found).not.toHaveProperty('threads');
  });

  test.each([
    ['SOUPS_TOKEN', 'short'],
    ['SOUPS_TOKEN', ''],
    ['SOUPS_ROOTS', 'relative'],
    ['SOUPS_ROOTS', '/no/such/folder'],
    ['SOUPS_MEMORY', 'much'],
    ['SOUPS_MEMORY', '0'],
    ['SOUPS_PORT', '-1'],
    ['SOUPS_CONCURRENCY', '0'],
    ['SOUPS_TTL', 'NaN'],
    ['SOUPS_TYPO', '1'],
  ])('%s=%s is refused by its name', (name, value) => {
    expect(() => readSettings({ ...needed(), [name]: value })).toThrow(name);
  });
});

describe('a log of events', () => {
  const read = async (log: EventLog, position: number | null) => {
    log.end();
    const state = () => ({ event: 'state', data: '{}' });
    const signal = new AbortController().signal;
    let text = '';
    for await (const piece of stream(log, position, state, { heartbeat: 1000, signal }))
      text += piece;
    return [...text.matchAll(/^id: \w+-(\d+)\nevent: (\w+)/gm)].map((m) => `${m[1]} ${m[2]}`);
  };

  test('gives what came after a position, and only the newest of progress', async () => {
    const log = new EventLog();
    for (const event of ['state', 'progress', 'progress', 'step', 'progress']) log.add(event, '{}');
    expect(await read(log, 0)).toEqual(['1 state', '3 progress', '4 step', '5 progress']);
    expect(await read(log, 2)).toEqual(['3 progress', '4 step', '5 progress']);
    expect(await read(log, 5)).toEqual([]);
  });

  test('gives the state where events are gone', async () => {
    const log = new EventLog();
    for (let i = 0; i < 300; i++) log.add('step', '{}');
    expect(await read(log, 3)).toEqual(['300 state']);
    expect(await read(log, null)).toEqual(['300 state']);
    expect(await read(log, 298)).toEqual(['299 step', '300 step']);
    expect(await read(log, 44)).toHaveLength(256);
    expect(await read(log, 43)).toEqual(['300 state']);
  });
});

test('problems say what is wrong, and of whom', () => {
  const full = Object.assign(new Error('ENOSPC: write /secret'), { code: 'ENOSPC' });
  expect(problemOf(full)).toMatchObject({ status: 507, code: 'NO_SPACE' });
  expect(problemOf(new Error('secret'))).toMatchObject({ status: 500, code: 'INTERNAL' });
  const statuses = { MISMATCH: 422, FORMAT: 422, MEMORY: 503, NO_SPACE: 507, IO: 500 } as const;
  for (const [code, status] of Object.entries(statuses)) {
    const info = { file: 'f', details: [{ message: 'm' }], remedy: 'r' };
    const problem = problemOf(new StockpotError(code as keyof typeof statuses, 'what', info));
    expect(problem).toEqual({
      type: `urn:problem-type:stockpot:${code.toLowerCase().replace('_', '-')}`,
      title: STATUS_CODES[status],
      status,
      detail: 'what',
      code,
      ...info,
    });
  }
  expect(JSON.stringify([problemOf(full), problemOf(new Error('secret'))])).not.toContain('secret');
});

describe('the queue', () => {
  const memory = () => new StockpotError('MEMORY', 'not enough memory');
  const request = { recipe: 'uniform', ingredients: ['/x'] };

  /** Jobs whose work the test decides on. */
  async function open(
    make: (job: Json, count: () => number, signal: AbortSignal) => Promise<void>,
    settings = {},
  ) {
    let running = 0;
    const kitchen = {
      check: async () => {},
      make: async (body: Json, own: string, { signal }: { signal: AbortSignal }) => {
        running++;
        mkdirSync(join(own, 'soup'), { recursive: true });
        try {
          await new Promise((resolve) => setImmediate(resolve));
          await make(body, () => running, signal);
          return { sha256: 'x', output: '/secret' };
        } finally {
          running--;
        }
      },
    };
    const all = { concurrency: 3, queue: 100, attempts: 5, ttl: 1e9, keep: 100, ...settings };
    const jobs = new Jobs(all, new Journal(join(folder, 'jobs')), kitchen as never);
    const errors: unknown[] = [];
    jobs.log = { info() {}, error: (...e: unknown[]) => errors.push(e) } as never;
    await jobs.open();
    return { jobs, errors };
  }

  const ended = async (jobs: Jobs, ids: string[]) => {
    while (ids.some((id) => !['done', 'failed', 'cancelled'].includes(jobs.get(id).state)))
      await new Promise((resolve) => setTimeout(resolve, 5));
    return ids.map((id) => jobs.get(id).state);
  };

  test('runs a job alone that has not enough memory beside others', async () => {
    const alone: number[] = [];
    const { jobs } = await open(async (body, count) => {
      if (!body.big) return new Promise((resolve) => setTimeout(resolve, 30));
      if (count() > 1) throw memory();
      alone.push(count());
    });
    const ids: string[] = [];
    for (const big of [false, true, false, true, false])
      ids.push((await jobs.submit({ ...request, big })).job.id);
    await new Promise((resolve) => setTimeout(resolve, 10));
    expect(await ended(jobs, ids)).toEqual(ids.map(() => 'done'));
    expect(alone).toEqual([1, 1]);
    await jobs.drain();
  });

  test('runs a job once more that others joined before its memory was short', async () => {
    let tries = 0;
    const { jobs } = await open(async (body, count) => {
      if (!body.big) return new Promise((resolve) => setTimeout(resolve, 30));
      if (++tries > 1) return;
      while (count() < 2) await new Promise((resolve) => setImmediate(resolve));
      throw memory();
    });
    const ids: string[] = [];
    for (const big of [true, false]) ids.push((await jobs.submit({ ...request, big })).job.id);
    expect(await ended(jobs, ids)).toEqual(['done', 'done']);
    expect(tries).toBe(2);
    await jobs.drain();
  });

  test('takes no job that cannot be written down, and none after it was told to stop', async () => {
    const { jobs } = await open(async () => {});
    writeFileSync(join(folder, 'a file'), '');
    const { folder: good } = jobs.journal;
    jobs.journal.folder = join(folder, 'a file');
    await expect(jobs.submit(request, 'key')).rejects.toThrow('ENOTDIR');
    jobs.journal.folder = good;
    expect(jobs.list({ limit: 9, state: undefined, before: undefined }).jobs).toEqual([]);
    const { fresh } = await jobs.submit(request, 'key');
    expect(fresh).toBe(true);
    await jobs.drain();
    await expect(jobs.submit(request)).rejects.toMatchObject({ status: 503, code: 'STOPPING' });
    expect(jobs.count('queued') + jobs.count('done')).toBe(1);
  });

  test('fails a job that has not enough memory alone', async () => {
    const { jobs } = await open(async () => {
      throw memory();
    });
    const { job } = await jobs.submit(request);
    expect(await ended(jobs, [job.id])).toEqual(['failed']);
    expect(jobs.show(jobs.get(job.id)).error).toEqual({
      code: 'MEMORY',
      message: 'not enough memory',
    });
    await jobs.drain();
  });

  test('never runs more than it may, checks all that come at once, and keeps their order', async () => {
    let most = 0;
    const order: number[] = [];
    const { jobs, errors } = await open(
      async (body, count) => {
        order.push(body.n);
        most = Math.max(most, count());
        await new Promise((resolve) => setTimeout(resolve, 1));
      },
      { concurrency: 1 },
    );
    const made = await Promise.all(
      [...Array(30).keys()].map((n) => jobs.submit({ ...request, n })),
    );
    await ended(
      jobs,
      made.map((m) => m.job.id),
    );
    expect(most).toBe(1);
    expect([...order].sort((a, b) => a - b)).toEqual([...Array(30).keys()]);
    expect(errors).toEqual([]);
    await jobs.drain();
  });

  test('says of a fault of its own no more than that there was one', async () => {
    const { jobs, errors } = await open(async () => {
      throw new Error('secret');
    });
    const { job } = await jobs.submit(request);
    await ended(jobs, [job.id]);
    expect(JSON.stringify(jobs.show(jobs.get(job.id)))).not.toContain('secret');
    expect(errors).toHaveLength(1);
    await jobs.drain();
  });

  test('cancels and removes at the same time without harm', async () => {
    const untilAborted = (_body: Json, _count: () => number, signal: AbortSignal) =>
      new Promise<void>((_, reject) => {
        const abort = () => reject(new StockpotError('ABORTED', 'aborted'));
        if (signal.aborted) abort();
        signal.addEventListener('abort', abort);
      });
    const { jobs, errors } = await open(untilAborted, { concurrency: 1 });
    const ids: string[] = [];
    for (let i = 0; i < 4; i++) ids.push((await jobs.submit(request)).job.id);
    const [a, b, c, d] = ids as [string, string, string, string];
    await Promise.all([
      jobs.cancel(b),
      jobs.cancel(b),
      jobs.remove(c),
      jobs.remove(c),
      jobs.remove(a),
      jobs.cancel(d),
    ]);
    expect([jobs.get(b).state, jobs.get(d).state]).toEqual(['cancelled', 'cancelled']);
    expect(() => jobs.get(c)).toThrow('no job');
    expect(errors).toEqual([]);
    await jobs.drain();
  });
});
