import { execFileSync, spawn } from 'node:child_process';
import { renameSync, writeFileSync } from 'node:fs';
import { mkdir, open, readFile, rm, truncate, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { uniform } from '../../lib/index.js';
import { finished, jsonOf, start, startScript, stockpot } from '../helpers/cli.js';
import { failure } from '../helpers/errors.js';
import { encode } from '../helpers/floats.js';
import { listing, useFolder } from '../helpers/folder.js';
import { numbers, put, putTensors, rawFile, readBack, tensor } from '../helpers/safetensors.js';

const at = useFolder();
let sets = 0;
const fresh = (name = '') => at(`${sets++}`, name);
const MEGABYTE = 1e6;

/** A file that takes no room: one tensor of so many bytes, one number and zeros. */
async function sparse(path: string, bytes: number, number = 7): Promise<string> {
  const info = { dtype: 'F32', shape: [bytes / 4], data_offsets: [0, bytes] };
  const header = rawFile(JSON.stringify({ w: info }));
  await put(path, Buffer.concat([header, encode('F32', [number])]));
  await truncate(path, header.length + bytes);
  return path;
}

/** Until something is so; the test's own time limit ends what never is. */
async function until(so: () => Promise<boolean> | boolean): Promise<void> {
  while (!(await so())) await sleep(5);
}
const sizeOf = async (path: string): Promise<number> => {
  const handle = await open(path).catch(() => null);
  const size = (await handle?.stat())?.size ?? -1;
  await handle?.close();
  return size;
};

let large: string[] = [];
/** So much to read that no machine is done before the first report of progress. */
let many: string[] = [];
let small: string[] = [];
beforeAll(async () => {
  large = await Promise.all(
    [0, 1, 2, 3].map((i) => sparse(at(`large ${i}.safetensors`), 400 * MEGABYTE, i)),
  );
  many = await Promise.all(
    Array.from({ length: 32 }, (_, i) => sparse(at(`many ${i}.safetensors`), 400 * MEGABYTE, i)),
  );
  small = await Promise.all(
    [1, 3].map((x) => putTensors(at(`small ${x}.safetensors`), [tensor('w', 'F32', [2], x)])),
  );
});
afterAll(async () => {
  for (const path of [...large, ...many]) await rm(path, { force: true });
});

/** The partial file of an output: where writing goes on. */
const partialOf = (out: string): string => {
  const name = out.split('/').at(-1) as string;
  return join(out, '..', `.${name}.stockpot-partial`);
};
/** When a merge into a file has begun to write. */
const writing = (out: string) => until(async () => (await sizeOf(partialOf(out))) > MEGABYTE);

describe('abort', () => {
  it('behaviour 29: a signal that is aborted already: nothing is read or written', async () => {
    const out = fresh('new/soup.safetensors');
    const signal = AbortSignal.abort();
    await failure(uniform(small, out, { signal }), 'ABORTED');
    await failure(uniform(['not there'], out, { signal }), 'ABORTED');
    expect(await listing(join(out, '../..')).catch(() => [])).toEqual([]);
  });

  it('behaviour 29: at any moment; nothing is left and the process goes on', async () => {
    const folder = fresh();
    await mkdir(folder);
    for (const share of [0, 0.01, 0.05, 0.1]) {
      for (const name of ['soup', 'soup.safetensors']) {
        const stop = new AbortController();
        const out = join(folder, name);
        const call = uniform(many, out, {
          signal: stop.signal,
          onProgress: (p) => {
            if (p.bytesRead >= share * p.bytesTotal) stop.abort();
          },
        });
        const error = await failure(call, 'ABORTED');
        expect(error.message).toBe('aborted');
        expect(await listing(folder)).toEqual([]);
      }
    }
    const out = join(folder, 'after.safetensors');
    await uniform(small, out);
    expect(numbers(await readBack(out), 'w')).toEqual([2, 2]);
  });

  it('behaviour 29: after the end it changes nothing', async () => {
    const stop = new AbortController();
    const out = fresh('soup.safetensors');
    await uniform(small, out, { signal: stop.signal });
    stop.abort();
    expect(numbers(await readBack(out), 'w')).toEqual([2, 2]);
  });

  it('behaviour 22: an abort keeps the old output', async () => {
    const out = fresh('soup.safetensors');
    await uniform(small, out);
    const before = await readFile(out);
    const stop = new AbortController();
    const call = uniform(many, out, {
      overwrite: true,
      signal: stop.signal,
      onProgress: () => stop.abort(),
    });
    await failure(call, 'ABORTED');
    expect(await readFile(out)).toEqual(before);
    expect(await listing(join(out, '..'))).toEqual(['soup.safetensors']);
  });
});

describe('signals', () => {
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    for (const name of ['soup', 'soup.safetensors']) {
      it(`behaviour 29: ${signal} while ${name} is written: exit 130, nothing left`, async () => {
        const out = join(fresh('new'), name);
        const child = start(['uniform', ...large, '-o', out, '--threads', '1', '--json']);
        const ended = finished(child);
        const partial = partialOf(out);
        const file = name === 'soup' ? join(partial, 'model.safetensors') : partial;
        await until(async () => (await sizeOf(file)) > MEGABYTE);
        child.kill(signal);
        const done = await ended;
        expect(done.code).toBe(130);
        expect(jsonOf(done).error.code).toBe('ABORTED');
        expect(done.stderr).toBe('');
        expect(await listing(join(out, '../..')).catch(() => [])).toEqual([]);
      });
    }
  }

  it('behaviour 29: Ctrl-C without --json says so in one line', async () => {
    const out = fresh('soup.safetensors');
    const child = start(['uniform', ...large, '-o', out, '--threads', '1', '--quiet']);
    const ended = finished(child);
    await writing(out);
    child.kill('SIGINT');
    const { code, stdout, stderr } = await ended;
    expect([code, stdout]).toEqual([130, '']);
    expect(stderr).toMatch(/^stockpot: [^\n]+\n$/);
  });

  it('behaviour 22: kill -9 keeps the old output; the next run removes what it left', async () => {
    const folder = fresh();
    const out = join(folder, 'soup.safetensors');
    await mkdir(folder);
    await uniform(small, out);
    const before = await readFile(out);
    const child = start(['uniform', ...large, '-o', out, '--overwrite', '--threads', '1']);
    const ended = finished(child);
    await writing(out);
    child.kill('SIGKILL');
    expect((await ended).signal).toBe('SIGKILL');
    expect(await readFile(out)).toEqual(before);
    expect(await listing(folder)).toEqual([
      '.soup.safetensors.stockpot-partial',
      'soup.safetensors',
    ]);
    expect((await stockpot(['uniform', ...small, '-o', out, '--overwrite'])).code).toBe(0);
    expect(await listing(folder)).toEqual(['soup.safetensors']);
  });

  it('behaviour 22: kill -9 while a folder is written', async () => {
    const folder = fresh();
    const out = join(folder, 'soup');
    const child = start(['uniform', ...large, '-o', out, '--threads', '1']);
    const ended = finished(child);
    const partial = join(partialOf(out), 'model.safetensors');
    await until(async () => (await sizeOf(partial)) > MEGABYTE);
    child.kill('SIGKILL');
    await ended;
    expect(await listing(folder)).toEqual(['.soup.stockpot-partial']);
    expect((await stockpot(['uniform', ...small, '-o', out])).code).toBe(0);
    expect(await listing(folder)).toEqual(['soup']);
  });
});

describe('two runs to one output', () => {
  it.each(['soup.safetensors', 'soup'])('behaviour 22: %s: the second refuses', async (name) => {
    const out = join(fresh(), name);
    const first = start(['uniform', ...large, '-o', out, '--threads', '1']);
    const ended = finished(first);
    await until(async () => (await listing(join(out, '..')).catch(() => [])).length > 0);
    const second = await stockpot(['uniform', ...small, '-o', out, '--json']);
    const inProcess = await failure(uniform(small, out), 'OUTPUT');
    first.kill('SIGINT');
    await ended;
    expect(second.code).toBe(1);
    const { error } = jsonOf(second);
    expect([error.code, error.file]).toEqual(['OUTPUT', out]);
    expect(error.message).toContain('another run is writing');
    expect(inProcess.message).toBe(error.message);
    expect((await stockpot(['uniform', ...small, '-o', out])).code).toBe(0);
  });

  it('behaviour 22: many at once in one process: one makes it, the others refuse', async () => {
    const out = fresh('soup.safetensors');
    const calls = await Promise.allSettled(Array.from({ length: 6 }, () => uniform(small, out)));
    expect(calls.filter((c) => c.status === 'fulfilled')).toHaveLength(1);
    for (const c of calls) if (c.status === 'rejected') expect(c.reason.code).toBe('OUTPUT');
    expect(await listing(join(out, '..'))).toEqual(['soup.safetensors']);
  });

  it('behaviour 22: an output that appears meanwhile is not replaced', async () => {
    const out = fresh('soup.safetensors');
    const call = uniform(large, out, {
      onProgress: () => {
        writeFileSync(out, 'another’s');
      },
    });
    await failure(call, 'OUTPUT');
    expect(await readFile(out, 'utf8')).toBe('another’s');
    expect(await listing(join(out, '..'))).toEqual(['soup.safetensors']);
  });
});

describe('worker_threads', () => {
  const WORKER = `
    import { Worker, isMainThread, workerData, parentPort } from 'node:worker_threads';
    const code = \`
      const { workerData, parentPort } = require('node:worker_threads');
      import(workerData.library).then(async (stockpot) => {
        const soup = await stockpot.uniform(workerData.inputs, workerData.out, {
          threads: 2,
          onProgress: ({ bytesRead }) => {
            if (!bytesRead) return;
            parentPort.postMessage('reading');
            if (workerData.exits) process.exit(7);
          },
        });
        parentPort.postMessage(soup.sha256);
      });
    \`;
    const [library, large, small, folder] = JSON.parse(process.env.JOB);
    const work = (name, inputs, exits) => new Promise((resolve) => {
      const worker = new Worker(code, { eval: true, execArgv: [], workerData: { library, inputs, out: folder + '/' + name, exits } });
      const said = [];
      worker.on('message', (m) => {
        said.push(m);
        if (name.startsWith('terminated')) worker.terminate();
      });
      worker.on('error', (e) => said.push(String(e)));
      worker.on('exit', (code) => resolve([name, said.at(-1), code]));
    });
    const results = await Promise.all([
      work('whole 0.safetensors', small), work('whole 1', small),
      work('terminated.safetensors', large), work('terminated', large),
      work('exited.safetensors', large, true), work('exited', large, true),
    ]);
    console.log(JSON.stringify(results));
  `;

  it('behaviour 29: workers make soups at once; ended mid-run they leave nothing half-written', async () => {
    const folder = fresh();
    await mkdir(folder);
    const library = new URL('../../dist/index.js', import.meta.url).href;
    const JOB = JSON.stringify([library, large, small, folder]);
    const child = startScript(WORKER, { env: { ...process.env, JOB } });
    const { code, signal, stdout, stderr } = await finished(child);
    expect([code, signal, stderr]).toEqual([0, null, '']);
    const results = new Map(
      (JSON.parse(stdout) as [string, string, number][]).map(([name, ...rest]) => [name, rest]),
    );
    for (const name of ['whole 0.safetensors', 'whole 1'])
      expect(results.get(name)).toEqual([expect.stringMatching(/^[0-9a-f]{64}$/), 0]);
    for (const name of ['terminated.safetensors', 'terminated'])
      expect(results.get(name)).toEqual(['reading', 1]);
    for (const name of ['exited.safetensors', 'exited'])
      expect(results.get(name)).toEqual(['reading', 7]);
    expect(await listing(folder)).toEqual(['whole 0.safetensors', 'whole 1']);
    expect(numbers(await readBack(join(folder, 'whole 0.safetensors')), 'w')).toEqual([2, 2]);
  });

  it('behaviour 29: process.exit() in the main thread mid-run', async () => {
    const out = fresh('soup.safetensors');
    await mkdir(join(out, '..'));
    const script = `
      await stockpot.uniform(${JSON.stringify(large)}, ${JSON.stringify(out)}, {
        onProgress: () => process.exit(9),
      });`;
    const { code, signal, stderr } = await finished(startScript(script));
    expect([code, signal, stderr]).toEqual([9, null, '']);
    expect(await listing(join(out, '..'))).toEqual([]);
  });

  it('a pending call keeps the process alive until it is done', async () => {
    const out = fresh('soup.safetensors');
    const script = `stockpot.uniform(${JSON.stringify(large)}, ${JSON.stringify(out)}).then((s) => console.log(s.bytesRead));`;
    const { code, stdout } = await finished(startScript(script));
    expect([code, stdout]).toEqual([0, `${4 * 400 * MEGABYTE}\n`]);
  });
});

describe('disk full', () => {
  it('behaviour 22: a limit on the size of files', async () => {
    const folder = fresh();
    const out = join(folder, 'soup.safetensors');
    await mkdir(folder);
    await uniform(small, out);
    const before = await readFile(out);
    // Reading is not limited; 1000 blocks of 1024 bytes may be written.
    const args = ['-c', 'ulimit -f 1000; exec "$0" "$@"', process.execPath];
    const program = new URL('../../dist/cli.js', import.meta.url).pathname;
    for (const name of ['soup.safetensors', 'other']) {
      const run = [program, 'uniform', ...large, '-o', join(folder, name), '--overwrite', '--json'];
      const done = await finished(
        spawn('bash', [...args, ...run], { stdio: ['ignore', 'pipe', 'pipe'] }),
      );
      expect([done.code, done.signal]).toEqual([1, null]);
      const { error } = jsonOf(done);
      expect(error.code).toBe('NO_SPACE');
      expect(error.file).toContain(join(folder, name));
      expect(error.remedy).toContain('space');
    }
    expect(await readFile(out)).toEqual(before);
    expect(await listing(folder)).toEqual(['soup.safetensors']);
  });

  it('behaviour 22: a small disk', async ({ skip }) => {
    const folder = fresh();
    await mkdir(folder);
    try {
      execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=3m', 'tmpfs', folder], { stdio: 'ignore' });
    } catch {
      skip('mounting a small file system needs root');
    }
    try {
      const out = join(folder, 'soup.safetensors');
      await uniform(small, out);
      const before = await readFile(out);
      // Too large from the start: refused before a byte is written.
      const early = await failure(uniform(large, out, { overwrite: true }), 'NO_SPACE');
      expect(early.message).toMatch(/needs 400000000 bytes but the disk has \d+ left/);
      // Full in the middle: the data has room, the side files have not.
      const model = fresh();
      await put(
        join(model, 'model.safetensors'),
        await readFile(await sparse(fresh('x'), MEGABYTE)),
      );
      await put(join(model, 'tokenizer.json'), Buffer.alloc(4 * MEGABYTE, 0x20));
      const late = await failure(uniform([model], join(folder, 'soup')), 'NO_SPACE');
      expect(late.file).toBe(join(folder, 'soup'));
      expect(await readFile(out)).toEqual(before);
      expect(await listing(folder)).toEqual(['soup.safetensors']);
      await uniform(small, join(folder, 'after.safetensors'));
    } finally {
      execFileSync('umount', [folder]);
    }
  });
});

describe('behaviour 21: inputs that change while they are read', () => {
  const changes: [string, (path: string) => Promise<void>][] = [
    ['shrinks', (path) => truncate(path, 1000)],
    ['shrinks to nothing', (path) => truncate(path, 0)],
    [
      'is written to',
      async (path) => {
        const handle = await open(path, 'r+');
        await handle.write(Buffer.of(1), 0, 1, 200 * MEGABYTE);
        await handle.close();
      },
    ],
    ['gets another time', (path) => utimes(path, 5, 5)],
    ['grows', (path) => writeFile(path, 'x', { flag: 'a' })],
  ];
  it.each(changes)('behaviour 21: one %s', async (_, change) => {
    const path = await sparse(fresh('changing.safetensors'), 400 * MEGABYTE);
    const out = fresh('soup.safetensors');
    let changed: Promise<void> | undefined;
    const call = uniform([large[0] as string, path, ...large.slice(1)], out, {
      threads: 1,
      onProgress: () => {
        changed ??= change(path);
      },
    });
    const error = await failure(call, 'CHANGED');
    await changed;
    expect(error.file).toBe(path);
    expect(error.message).toContain(path);
    expect(error.remedy).toBeTruthy();
    expect(await listing(join(out, '..')).catch(() => [])).toEqual([]);
    await rm(path);
  });

  it('behaviour 21: one is replaced by a rename: the opened file is read to its end', async () => {
    const path = await sparse(fresh('replaced.safetensors'), 400 * MEGABYTE);
    const other = await sparse(fresh('other.safetensors'), 4 * MEGABYTE);
    const out = fresh('soup.safetensors');
    let done = false;
    const { bytesRead } = await uniform([path, ...large.slice(1)], out, {
      threads: 1,
      onProgress: () => {
        if (!done) renameSync(other, path);
        done = true;
      },
    });
    expect(done).toBe(true);
    expect(bytesRead).toBe(1600 * MEGABYTE);
    await rm(out);
  });
});
