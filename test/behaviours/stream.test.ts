import { createHash } from 'node:crypto';
import { createWriteStream } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { PassThrough, Writable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { beforeAll, describe, expect, it } from 'vitest';
import {
  openCheckpoint,
  type Progress,
  StockpotError,
  type UniformOptions,
  uniform,
} from '../../lib/index.js';
import { finished, startScript } from '../helpers/cli.js';
import { failure } from '../helpers/errors.js';
import { useFolder } from '../helpers/folder.js';
import { numbers, parse, putTensors, readBack, tensor } from '../helpers/safetensors.js';

const at = useFolder();
const ELEMENTS = 1_000_000;
let paths: string[] = [];
beforeAll(async () => {
  paths = await Promise.all(
    [1, 3].map((x) => {
      const values = Array.from({ length: ELEMENTS }, (_, i) => x * (i % 1000));
      return putTensors(at(`${x}.safetensors`), [tensor('w', 'F32', [ELEMENTS], values)]);
    }),
  );
});

/** Collects what it gets, some milliseconds a chunk. */
class Slow extends Writable {
  readonly chunks: Buffer[] = [];
  constructor(
    private readonly wait: number,
    highWaterMark = 1024,
  ) {
    super({ highWaterMark });
  }
  override _write(chunk: Buffer, _: string, next: () => void): void {
    this.chunks.push(chunk);
    setTimeout(next, this.wait);
  }
  get bytes(): Buffer {
    return Buffer.concat(this.chunks);
  }
}

describe('uniform to a writable stream', () => {
  it('gets the file that a path would get, its hash, and is ended', async () => {
    const out = at('soup.safetensors');
    const made = await uniform(paths, out);
    const slow = new Slow(0);
    const streamed = await uniform(paths, slow);
    expect(slow.bytes.equals(await readFile(out))).toBe(true);
    expect(streamed.sha256).toBe(made.sha256);
    expect(streamed.sha256).toBe(createHash('sha256').update(slow.bytes).digest('hex'));
    expect([streamed.output, streamed.bytesWritten]).toEqual([null, slow.bytes.length]);
    expect(slow.writableFinished).toBe(true);
  });

  it('a stream that takes nothing holds the reading back', async () => {
    let go: () => void = () => {};
    const blocked = new Writable({
      highWaterMark: 1,
      write: (_chunk, _encoding, next) => {
        go = next;
      },
    });
    let read = 0;
    const stop = new AbortController();
    const call = uniform(paths, blocked, {
      signal: stop.signal,
      threads: 1,
      memory: 2 ** 20,
      onProgress: (p) => {
        read = p.bytesRead;
      },
    });
    const ended = failure(call, 'ABORTED');
    while (read === 0) await sleep(5);
    await sleep(300);
    // Both files have 4 MB: what was read lies in the pipe and in buffers.
    expect(read).toBeLessThan(2 * 4 * ELEMENTS);
    const before = read;
    await sleep(200);
    expect(read).toBe(before);
    stop.abort();
    await ended;
    go();
  });

  it('a destroyed stream is an error, not a crash', async () => {
    const slow = new Slow(5);
    slow.once('pipe', () => {});
    setTimeout(() => slow.destroy(), 20);
    const error = await failure(uniform(paths, slow), 'IO');
    expect(error.message).toContain('output stream');
  });

  it("the stream's own error is the cause", async () => {
    const broken = new Error('the tape tore');
    const early = new Writable({ write: (_c, _e, next) => next(broken) });
    const late = new Writable({
      highWaterMark: 1e9,
      write: (_c, _e, next) => void setTimeout(() => next(broken), 20),
    });
    const last = new Writable({ write: (_c, _e, next) => next(), final: (next) => next(broken) });
    for (const stream of [early, late, last]) {
      const error = await failure(uniform(paths, stream), 'IO');
      expect(error.message).toBe('the output stream failed: the tape tore');
      expect(error.cause).toBe(broken);
    }
  });

  it('a stream that somebody else ends is an error', async () => {
    const slow = new Slow(5);
    setTimeout(() => slow.end(), 20);
    const error = await failure(uniform(paths, slow), 'IO');
    expect(error.message).toContain('output stream');
  });

  it('a stream that has ended already is wrong usage', async () => {
    const ended = new PassThrough();
    ended.end();
    await failure(uniform(paths, ended), 'USAGE');
    const gone = new PassThrough();
    gone.destroy();
    await failure(uniform(paths, gone), 'USAGE');
  });

  it('a refused soup destroys the stream and never ends it', async () => {
    const nan = await putTensors(at('nan.safetensors'), [tensor('w', 'F32', [2], [1, Number.NaN])]);
    const slow = new Slow(0);
    const error = await failure(uniform([nan], slow), 'NONFINITE');
    expect(slow.destroyed).toBe(true);
    expect(slow.writableFinished).toBe(false);
    expect(slow.errored).toBe(error);
  });

  it('an aborted soup too', async () => {
    const slow = new Slow(5);
    const stop = new AbortController();
    setTimeout(() => stop.abort(), 30);
    await failure(uniform(paths, slow, { signal: stop.signal }), 'ABORTED');
    expect([slow.destroyed, slow.writableFinished]).toEqual([true, false]);
  });

  it('a file stream', async () => {
    const out = at('piped.safetensors');
    const { sha256 } = await uniform(paths, createWriteStream(out));
    expect(
      createHash('sha256')
        .update(await readFile(out))
        .digest('hex'),
    ).toBe(sha256);
  });

  it('standard output, of a process that goes on', async () => {
    const script = `await stockpot.uniform(${JSON.stringify(paths)}, process.stdout); console.error('goes on');`;
    const child = startScript(script);
    const chunks: Buffer[] = [];
    child.stdout?.on('data', (c) => chunks.push(Buffer.from(c)));
    const ended = finished(Object.assign(child, { stdout: null }));
    const { code, stderr } = await ended;
    expect([code, stderr]).toEqual([0, 'goes on\n']);
    expect(parse(Buffer.concat(chunks)).tensors.size).toBe(1);
  });

  it('a failing stream without listeners does not end the process', async () => {
    const script = `
      const { Writable } = await import('node:stream');
      const broken = () => new Writable({ write: (c, e, next) => next(new Error('torn')) });
      for (let i = 0; i < 3; i++)
        await stockpot.uniform(${JSON.stringify(paths)}, broken()).catch((e) => console.log(e.code));
      await new Promise((r) => setTimeout(r, 50));
      console.log('alive');`;
    const { code, stdout, stderr } = await finished(startScript(script));
    expect([code, stdout, stderr]).toEqual([0, 'IO\nIO\nIO\nalive\n', '']);
  });
});

describe('library', () => {
  it('open checkpoints are ingredients, mixed with paths', async () => {
    const open = await openCheckpoint(paths[0] as string);
    const out = at('open.safetensors');
    const { ingredients } = await uniform([open, paths[1] as string], out);
    expect(ingredients).toEqual(paths);
    const [a, b, c] = numbers(await readBack(out), 'w');
    expect([a, b, c]).toEqual([0, 2, 4]);
  });

  it('progress only grows and reaches the total', async () => {
    const seen: Progress[] = [];
    const { bytesRead } = await uniform(paths, new Slow(2, 65536), {
      memory: 2 ** 20,
      onProgress: (p) => seen.push(p),
    });
    expect(seen.length).toBeGreaterThan(1);
    for (const [i, p] of seen.entries()) {
      const before = seen[i - 1];
      expect(p.phase).toBe('merge');
      expect(p.bytesTotal).toBe(2 * 4 * ELEMENTS);
      expect(p.bytesRead).toBeLessThanOrEqual(p.bytesTotal);
      if (!before) continue;
      expect(p.bytesRead).toBeGreaterThanOrEqual(before.bytesRead);
      expect(p.bytesWritten).toBeGreaterThanOrEqual(before.bytesWritten);
      expect(p.seconds).toBeGreaterThanOrEqual(before.seconds);
    }
    expect(seen.at(-1)?.bytesRead).toBe(bytesRead);
    expect(bytesRead).toBe(2 * 4 * ELEMENTS);
  });

  it('what onProgress throws reaches the caller', async () => {
    const thrown = new Error('mine');
    const call = uniform(paths, new Slow(5), {
      onProgress: () => {
        throw thrown;
      },
    });
    await expect(call).rejects.toBe(thrown);
  });

  it('errors carry code, file, tensor, details and remedy', async () => {
    const error = await failure(uniform(['/no/such/file'], at('x.safetensors')), 'NOT_FOUND');
    expect(error).toBeInstanceOf(Error);
    expect(error).toBeInstanceOf(StockpotError);
    expect(error.name).toBe('StockpotError');
    expect([error.file, error.tensor, error.details]).toEqual(['/no/such/file', undefined, []]);
    expect(error.cause).toMatchObject({ code: 'ENOENT' });
  });

  it.each<[string, UniformOptions]>([
    ['threads 0', { threads: 0 }],
    ['threads 1.5', { threads: 1.5 }],
    ['memory 1', { memory: 1 }],
    ['memory NaN', { memory: Number.NaN }],
    ['maxShardSize 0', { maxShardSize: 0 }],
    ['weights of another number', { weights: [1] }],
  ])('wrong options: %s', async (_, options) => {
    await failure(uniform(paths, at('wrong'), options), 'USAGE');
  });

  it('no ingredient', async () => {
    await failure(uniform([], at('none.safetensors')), 'USAGE');
  });

  it('CommonJS and ESM give the same names', async () => {
    const script = `
      const { createRequire } = await import('node:module');
      const cjs = createRequire(${JSON.stringify(import.meta.filename)})(${JSON.stringify(new URL('../../dist/index.cjs', import.meta.url).pathname)});
      console.log(JSON.stringify([Object.keys(cjs).sort(), Object.keys(stockpot).sort()]));
      const soup = await cjs.uniform(${JSON.stringify(paths)}, ${JSON.stringify(at('cjs.safetensors'))});
      console.log(soup.members.length);`;
    const { code, stdout, stderr } = await finished(startScript(script));
    expect([code, stderr]).toEqual([0, '']);
    const [names, members] = stdout.trim().split('\n') as [string, string];
    const [cjs, esm] = JSON.parse(names);
    expect(cjs).toEqual(esm);
    expect(esm).toContain('uniform');
    expect(members).toBe('2');
  });
});
