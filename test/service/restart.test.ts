// What a service that ends in any way leaves, and what the next one makes of it.
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, describe, expect, test } from 'vitest';
import { endless, ingredients, type Json, learned, Service, uniform } from './service.js';

let service: Service;
afterEach(() => service.remove());

/** Evenly spread numbers from 0 to 1 of a seed (Marsaglia's xorshift). */
function random(seed: number) {
  let x = seed;
  return () => {
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    return (x >>> 0) / 2 ** 32;
  };
}

const by = { ...learned, by: 'layer', steps: 40, batchSize: 64 };
const greedy = { ...learned, recipe: 'greedy', ingredients: ingredients.slice(0, 5) };
const requests = [by, uniform, greedy, { ...uniform, dtype: 'bf16' }, { ...by, seed: 1 }];

/** The bytes of each request's soup, made without disturbance. */
async function undisturbed(): Promise<Buffer[]> {
  const quiet = await new Service().start();
  try {
    const ids: string[] = [];
    for (const r of requests) ids.push(await quiet.submitted(r));
    await Promise.all(ids.map(quiet.over));
    return await Promise.all(ids.map((id) => quiet.weights(id)));
  } finally {
    await quiet.remove();
  }
}

async function allSame(ids: readonly string[], expected: readonly Buffer[]) {
  for (const [i, id] of ids.entries()) {
    const job = await service.over(id);
    expect(job.state, JSON.stringify(job)).toBe('done');
    expect(
      (await service.weights(id)).equals(expected[i] as Buffer),
      JSON.stringify(requests[i]),
    ).toBe(true);
    const left = readdirSync(join(service.data, 'jobs', id));
    expect(left.sort()).toEqual(['job.json', 'result.json', 'soup']);
  }
}

describe('killed at any time', () => {
  test('no accepted job is lost, and every soup has the bytes of an undisturbed run', async () => {
    const expected = await undisturbed();
    const next = random(20260);
    service = await new Service({ SOUPS_ATTEMPTS: '1000' }).start();
    const ids: string[] = [];
    for (const r of requests) ids.push(await service.submitted(r));
    for (const signal of [
      'SIGKILL',
      'SIGKILL',
      'SIGTERM',
      'SIGKILL',
      'SIGKILL',
      'SIGTERM',
    ] as const) {
      await new Promise((resolve) => setTimeout(resolve, 600 * next()));
      expect(await service.end(signal)).toBe(signal === 'SIGTERM' ? 0 : null);
      await service.start();
    }
    await allSame(ids, expected);
    const jobs = await Promise.all(ids.map((id) => service.job(id)));
    expect(Math.max(...jobs.map((j: Json) => j.starts))).toBeGreaterThan(1);
    // Eight starts of a service, on a machine that may be busy.
  }, 300_000);

  test('a step that was learned is not learned again', async () => {
    service = await new Service().start();
    const id = await service.submitted({ ...endless, batchSize: 'full' });
    const far = await service.until(id, (j) => j.step?.step >= 3);
    expect(await service.end('SIGTERM')).toBe(0);
    await service.start();
    const first = await service.until(id, (j) => j.step !== null);
    expect(first.step.step).toBeGreaterThan(far.step.step);
    expect(first.starts).toBe(2);
  });

  test('a job that ends the service again and again fails in the end', async () => {
    service = await new Service({ SOUPS_ATTEMPTS: '3' }).start();
    const id = await service.submitted(endless);
    for (let i = 0; i < 3; i++) {
      // By then the journal says that it runs.
      await service.until(id, (j) => j.step !== null);
      await service.end('SIGKILL');
      await service.start();
    }
    const job = await service.over(id);
    expect([job.state, job.error.code, job.starts]).toEqual(['failed', 'CRASHED', 3]);
  });

  test('a cancelled job stays so', async () => {
    service = await new Service({ SOUPS_CONCURRENCY: '1' }).start();
    const ids = [await service.submitted(endless), await service.submitted(uniform)];
    for (const id of ids) await service.json(`/v1/jobs/${id}/cancel`, { method: 'POST' });
    await service.end('SIGKILL');
    await service.start();
    for (const id of ids) expect((await service.job(id)).state).toBe('cancelled');
  });
});

describe('asked to stop', () => {
  test('it ends event streams, keeps what ran and what waited, and exits with 0', async () => {
    // With so much grace, an answer that does not end would be seen.
    service = await new Service({ SOUPS_CONCURRENCY: '1', SOUPS_GRACE: '100000' }).start();
    const running = await service.submitted(endless);
    const waiting = await service.submitted(uniform);
    await service.until(running, (j) => j.step !== null);
    const events = (async () => {
      let last = '';
      for await (const e of service.events(running)) last = e.event;
      return last;
    })();
    await new Promise((resolve) => setTimeout(resolve, 100));
    expect(await service.end('SIGTERM')).toBe(0);
    expect(await events).not.toBe('end');
    expect(existsSync(join(service.data, 'lock'))).toBe(false);
    const state = (id: string) =>
      JSON.parse(readFileSync(join(service.data, 'jobs', id, 'job.json'), 'utf8')).state;
    expect([state(running), state(waiting)]).toEqual(['queued', 'queued']);
    expect(readdirSync(join(service.data, 'jobs', running)).sort()).toEqual(['job.json', 'state']);
    await service.start();
    await service.fetch(`/v1/jobs/${running}`, { method: 'DELETE' });
    expect((await service.over(waiting)).state).toBe('done');
  });

  test('a second service is refused the folder', async () => {
    service = await new Service().start();
    const second = new Service({ SOUPS_DATA: service.data });
    await expect(second.start()).rejects.toThrow('another service is using this folder');
    await second.remove();
    expect((await service.json('/health/ready')).status).toBe(200);
  });
});

test('what is half written or damaged on the disk does no harm', async () => {
  service = await new Service().start();
  const id = await service.submitted(uniform);
  await service.over(id);
  await service.end('SIGKILL');
  const jobs = join(service.data, 'jobs');
  for (const name of ['.removed-x', 'without-entry', 'damaged']) mkdirSync(join(jobs, name));
  writeFileSync(join(jobs, 'damaged/job.json'), '{"id":');
  await service.start();
  expect((await service.json('/v1/jobs')).body.jobs.map((j: Json) => j.id)).toEqual([id]);
  expect(readdirSync(jobs).sort()).toEqual([id, 'damaged'].sort());
});

test('results expire, and the oldest go where there are too many', async () => {
  service = await new Service({ SOUPS_KEEP: '2' }).start();
  const ids: string[] = [];
  for (let i = 0; i < 4; i++) {
    ids.push(await service.submitted(uniform));
    await service.over(ids[i] as string);
  }
  await service.until(ids[1] as string, (j) => j.code === 'NO_JOB');
  expect((await service.json('/v1/jobs')).body.jobs.map((j: Json) => j.id)).toEqual([
    ids[3],
    ids[2],
  ]);
  await service.end('SIGTERM');
  await service.start({ SOUPS_TTL: '0.05' });
  for (const id of ids) await service.until(id, (j) => j.code === 'NO_JOB');
  expect(readdirSync(join(service.data, 'jobs'))).toEqual([]);
});
