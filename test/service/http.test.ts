// The service's API, each sentence of its README, over HTTP.
import { createHash } from 'node:crypto';
import { mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { type IncomingMessage, request } from 'node:http';
import { join } from 'node:path';
import { Ajv2020 } from 'ajv/dist/2020.js';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { contentHash, openCheckpoint } from '../../lib/index.js';
import { SOUP_CONTENT } from '../package/consumer.js';
import {
  digits,
  endless,
  ingredients,
  type Json,
  learned,
  type ServerEvent,
  Service,
  TOKEN,
  uniform,
} from './service.js';

const service = new Service({ SOUPS_CONCURRENCY: '2', SOUPS_QUEUE: '3', SOUPS_HEARTBEAT: '0.2' });
let openapi: Json;
let ajv: Ajv2020;

beforeAll(async () => {
  const own = join(service.folder, 'root');
  mkdirSync(own);
  await service.start({
    SOUPS_ROOTS: `${digits}:${own}`,
    SOUPS_MAX_INGREDIENTS: '20',
    SOUPS_MAX_BYTES: '2MB',
  });
  openapi = (await service.json('/openapi.json')).body;
  ajv = new Ajv2020({ strict: false, formats: { 'date-time': true, binary: true } });
  ajv.addSchema(openapi, 'api');
});

afterAll(() => service.remove());

/** Holds an answer to the document. */
function conforms(name: 'Job' | 'Problem', body: unknown) {
  const validate = ajv.getSchema(`api#/components/schemas/${name}`);
  expect(validate?.(body), `${JSON.stringify(validate?.errors)} ${JSON.stringify(body)}`).toBe(
    true,
  );
}

async function problem(
  answer: Promise<{ status: number; body: Json; headers: Headers }>,
  status: number,
  code: string,
) {
  const { status: found, body, headers } = await answer;
  expect([found, body.code], JSON.stringify(body)).toEqual([status, code]);
  expect(headers.get('content-type')).toContain('application/problem+json');
  conforms('Problem', body);
  expect(body.status).toBe(status);
  return body;
}

describe('a job', () => {
  test('is submitted, followed, and its soup downloaded: that of the library', async () => {
    const { status, body, headers } = await service.submit(uniform);
    expect(status).toBe(201);
    conforms('Job', body);
    expect(headers.get('location')).toBe(`/v1/jobs/${body.id}`);
    const done = await service.over(body.id);
    conforms('Job', done);
    expect(done).toMatchObject({ state: 'done', starts: 1, error: null, request: uniform });
    const weights = await service.weights(body.id);
    const hash = createHash('sha256').update(weights).digest('hex');
    expect(done.sha256).toBe(
      createHash('sha256').update(`${hash}  model.safetensors\n`).digest('hex'),
    );
    const copy = join(service.folder, 'copy.safetensors');
    writeFileSync(copy, weights);
    expect(await contentHash(await openCheckpoint(copy))).toBe(SOUP_CONTENT);
    const result = (await service.json(`/v1/jobs/${body.id}/result`)).body;
    expect(result).toMatchObject({
      recipe: 'uniform',
      members: [0, 1, 2, 3, 4, 5, 6, 7],
      sha256: done.sha256,
    });
    expect(JSON.stringify(result)).not.toContain(service.folder);
    const record = (await service.json(`/v1/jobs/${body.id}/files/soup.json`)).body;
    expect(record.recipe).toBe('uniform');
    expect(done.files.map((f: Json) => f.name)).toEqual(
      expect.arrayContaining(['config.json', 'model.safetensors', 'soup.json']),
    );
  });

  test('may be a greedy or a learned soup', async () => {
    const data = join(digits, 'heldout');
    const greedy = { recipe: 'greedy', ingredients: ingredients.slice(0, 3), data, order: 'given' };
    const jobs = [
      await service.submitted(greedy),
      await service.submitted({ ...learned, by: 'layer', steps: 2, batchSize: 'full' }),
    ];
    const [first, second] = await Promise.all(jobs.map(service.over));
    expect([first.state, second.state], JSON.stringify([first.error, second.error])).toEqual([
      'done',
      'done',
    ]);
    const { members, trace } = (await service.json(`/v1/jobs/${jobs[0]}/result`)).body;
    expect(members[0]).toBe(0);
    expect(trace).toHaveLength(2);
    expect((await service.json(`/v1/jobs/${jobs[1]}/result`)).body.loss).toHaveLength(2);
    expect(second.step).toMatchObject({ step: 2, steps: 2 });
  });

  test('is cancelled while it runs, and while it waits; again is no error', async () => {
    const running = await service.submitted(endless);
    const other = await service.submitted(endless);
    const waiting = await service.submitted(uniform);
    await service.until(running, (j) => j.step?.step > 1);
    for (const id of [waiting, running, other, running]) {
      const { status, body } = await service.json(`/v1/jobs/${id}/cancel`, { method: 'POST' });
      expect([status, body.state]).toEqual([200, 'cancelled']);
      conforms('Job', body);
    }
    await problem(service.json(`/v1/jobs/${running}/files/model.safetensors`), 409, 'NOT_DONE');
    const done = await service.submitted(uniform);
    await service.over(done);
    await problem(service.json(`/v1/jobs/${done}/cancel`, { method: 'POST' }), 409, 'OVER');
  });

  test('is removed, also while it runs', async () => {
    const id = await service.submitted(endless);
    await service.until(id, (j) => j.state === 'running');
    expect((await service.fetch(`/v1/jobs/${id}`, { method: 'DELETE' })).status).toBe(204);
    await problem(service.json(`/v1/jobs/${id}`), 404, 'NO_JOB');
    await problem(service.json(`/v1/jobs/${id}`, { method: 'DELETE' }), 404, 'NO_JOB');
  });

  test('is made once for an Idempotency-Key', async () => {
    const headers = { 'idempotency-key': 'once' };
    const answers = await Promise.all([1, 2, 3].map(() => service.submit(uniform, headers)));
    expect(answers.map((a) => a.status).sort()).toEqual([200, 200, 201]);
    expect(new Set(answers.map((a) => a.body.id)).size).toBe(1);
    await problem(service.submit({ ...uniform, dtype: 'bf16' }, headers), 409, 'IDEMPOTENCY');
  });

  test("fails with stockpot's code, file and details", async () => {
    const folder = join(service.folder, 'root/other');
    mkdirSync(folder);
    const header = Buffer.from(
      JSON.stringify({ w: { dtype: 'F32', shape: [1], data_offsets: [0, 4] } }),
    );
    const length = Buffer.alloc(8);
    length.writeBigUInt64LE(BigInt(header.length));
    writeFileSync(
      join(folder, 'model.safetensors'),
      Buffer.concat([length, header, Buffer.alloc(4)]),
    );
    const body = await problem(
      service.submit({ ...uniform, ingredients: [ingredients[0], folder] }),
      422,
      'MISMATCH',
    );
    expect(body.details.length).toBeGreaterThan(3);
    const damaged = join(service.folder, 'root/damaged.safetensors');
    writeFileSync(damaged, 'damaged');
    expect(
      (await problem(service.submit({ ...uniform, ingredients: [damaged] }), 422, 'FORMAT')).file,
    ).toBe(damaged);
    await problem(service.submit({ ...uniform, weights: [1, 2] }), 422, 'USAGE');
    // What only the run finds out.
    const id = await service.submitted({ ...learned, data: join(digits, 'ingredients') });
    const failed = await service.over(id);
    conforms('Job', failed);
    expect(failed.state).toBe('failed');
    expect(failed.error.code).toMatch(/^[A-Z_]+$/);
    expect(failed.error.code).not.toBe('INTERNAL');
  });
});

test('jobs are listed newest first, by state, page by page', async () => {
  const made = [
    await service.submitted(uniform),
    await service.submitted(uniform),
    await service.submitted(uniform),
  ];
  await Promise.all(made.map(service.over));
  const seen: string[] = [];
  for (let before = ''; ; ) {
    const { body } = await service.json(`/v1/jobs?state=done&limit=2${before}`);
    seen.push(...body.jobs.map((j: Json) => j.id));
    if (body.next === null) break;
    before = `&before=${body.next}`;
  }
  expect(seen.slice(0, 3)).toEqual(made.reverse());
  expect(new Set(seen).size).toBe(seen.length);
  await problem(service.json('/v1/jobs?state=none'), 400, 'INVALID');
  await problem(service.json('/v1/jobs?limit=0'), 400, 'INVALID');
});

describe('authentication', () => {
  test.each([
    ['GET', '/v1/jobs'],
    ['POST', '/v1/jobs'],
    ['GET', '/metrics'],
    ['GET', '/v1/jobs/00000000-0000-0000-0000-000000000000/events'],
  ])('%s %s needs a token', async (method, path) => {
    for (const authorization of [
      '',
      'Bearer ',
      `Bearer ${TOKEN}x`,
      `Bearer ${TOKEN.slice(0, -1)}`,
      `Basic ${TOKEN}`,
    ]) {
      await problem(service.json(path, { method, headers: { authorization } }), 401, 'TOKEN');
    }
  });

  test('health and the document need none', async () => {
    for (const path of ['/health/live', '/health/ready', '/openapi.json'])
      expect((await fetch(`${service.url}${path}`)).status).toBe(200);
  });
});

describe('paths', () => {
  const refused = (path: string) =>
    problem(service.submit({ ...uniform, ingredients: [path] }), 403, 'PATH');

  test('outside of the roots are refused, whether they exist or not', async () => {
    const answers = [];
    for (const path of [
      '/etc/passwd',
      '/no/such',
      `${digits}/../../package.json`,
      `${digits}-other`,
      `${digits}\0/x`,
      '/',
    ])
      answers.push((await refused(path)).detail.replace(/^.*: lies/, 'lies'));
    expect(new Set(answers).size).toBe(1);
    await problem(
      service.submit({ ...uniform, ingredients: [`${digits}/no such`] }),
      422,
      'NOT_FOUND',
    );
  });

  test('that links lead out of the roots are refused: the path, in the folder, beside the file, as data', async () => {
    const own = join(service.folder, 'root');
    const secret = join(service.folder, 'secret.json');
    writeFileSync(secret, '{}');
    symlinkSync(join(digits, '../..'), join(own, 'out'));
    await refused(join(own, 'out/package.json'));
    const inside = join(own, 'inside');
    mkdirSync(inside);
    symlinkSync(
      join(ingredients[0] as string, 'model.safetensors'),
      join(inside, 'model.safetensors'),
    );
    await service.over(await service.submitted({ ...uniform, ingredients: [inside] })); // from root to root
    symlinkSync(secret, join(inside, 'config.json'));
    await refused(inside);
    await refused(join(inside, 'model.safetensors'));
    await problem(
      service.submit({ ...uniform, ingredients: [ingredients[0]], like: inside }),
      403,
      'PATH',
    );
    await problem(
      service.submit({ ...learned, data: [join(digits, 'heldout'), join(own, 'out')] }),
      403,
      'PATH',
    );
    await problem(service.submit({ ...learned, config: '/etc/hostname' }), 403, 'PATH');
    await problem(service.submit({ ...learned, data: `${digits}/{1..2}.tar` }), 422, 'USAGE');
  });

  test('of files are those of the soup only', async () => {
    const id = await service.submitted(uniform);
    await service.over(id);
    for (const name of [
      '..%2Fjob.json',
      '..%2f..%2f..%2flock',
      'job.json',
      '%2Fetc%2Fpasswd',
      'soup.json%00',
    ])
      await problem(service.json(`/v1/jobs/${id}/files/${name}`), 404, 'NO_FILE');
    await problem(service.json('/v1/jobs/..%2F..%2Flock'), 400, 'INVALID');
  });
});

describe('limits', () => {
  test('of the body, its type and its shape', async () => {
    const post = (body: string, type = 'application/json') =>
      service.json('/v1/jobs', { method: 'POST', headers: { 'content-type': type }, body });
    await problem(
      post(JSON.stringify({ ...uniform, exclude: ['x'.repeat(300_000)] })),
      413,
      'INVALID',
    );
    await problem(post('{'), 400, 'INVALID');
    await problem(post(JSON.stringify(uniform), 'text/plain'), 415, 'INVALID');
    await problem(post(JSON.stringify(uniform), 'application/xml'), 415, 'INVALID');
    const shapes = [null, [], 'x', {}, { recipe: 'other' }, { recipe: 'uniform', ingredients: [] }];
    for (const shape of shapes) await problem(service.submit(shape), 400, 'INVALID');
    const unknown = await problem(service.submit({ ...uniform, threads: 4 }), 400, 'INVALID');
    expect(unknown.detail).toContain('threads');
    // Nothing is made to fit silently.
    await problem(service.submit({ ...uniform, hash: 'true' }), 400, 'INVALID');
    await problem(service.submit({ ...learned, steps: '3' }), 400, 'INVALID');
    await problem(service.submit({ recipe: 'greedy', ingredients }), 400, 'INVALID');
  });

  test('of the number of ingredients, and of their bytes', async () => {
    const many = Array.from({ length: 21 }, () => ingredients[0]);
    await problem(service.submit({ ...uniform, ingredients: many }), 413, 'TOO_MANY');
    const big = join(service.folder, 'root/big.safetensors');
    const size = 3_000_000;
    const header = Buffer.from(
      JSON.stringify({ w: { dtype: 'U8', shape: [size], data_offsets: [0, size] } }),
    );
    const length = Buffer.alloc(8);
    length.writeBigUInt64LE(BigInt(header.length));
    writeFileSync(big, Buffer.concat([length, header, Buffer.alloc(size)]));
    await problem(service.submit({ ...uniform, ingredients: [big] }), 413, 'TOO_LARGE');
  });

  test('of jobs that run and that wait; nothing is lost between them', async () => {
    const answers = await Promise.all(Array.from({ length: 12 }, () => service.submit(endless)));
    const taken = answers.filter((a) => a.status === 201).map((a) => a.body.id);
    expect(taken).toHaveLength(5);
    for (const a of answers.filter((x) => x.status !== 201)) {
      await problem(Promise.resolve(a), 429, 'QUEUE_FULL');
      expect(Number(a.headers.get('retry-after'))).toBeGreaterThan(0);
    }
    await service.until(taken[0], (j) => j.state === 'running');
    const states = await Promise.all(taken.map((id) => service.job(id)));
    expect(states.filter((j) => j.state === 'running').length).toBeLessThanOrEqual(2);
    const metrics = await (await service.fetch('/metrics')).text();
    expect(metrics).toMatch(/soups_queue_length [34]\n/);
    expect(metrics).toContain('soups_refused_total{code="QUEUE_FULL"} 7');
    for (const id of taken) await service.json(`/v1/jobs/${id}/cancel`, { method: 'POST' });
  });

  test('of memory', async () => {
    const small = await new Service({ SOUPS_MEMORY: '1MiB' }).start();
    try {
      const { state, error } = await small.over(await small.submitted(learned));
      expect([state, error.code]).toEqual(['failed', 'MEMORY']);
      expect((await small.over(await small.submitted(uniform))).state).toBe('done');
    } finally {
      await small.remove();
    }
  });

  test('of requests a minute, by token', async () => {
    const slow = await new Service({ SOUPS_RATE: '3' }).start();
    try {
      for (let i = 0; i < 3; i++) expect((await slow.json('/v1/jobs')).status).toBe(200);
      await problem(slow.json('/v1/jobs'), 429, 'RATE');
      expect((await slow.json('/health/live')).status).toBe(200);
    } finally {
      await slow.remove();
    }
  });
});

describe('events', () => {
  test('tell states, steps, progress and the end, and are resumed without a gap', async () => {
    const blocking = [await service.submitted(endless), await service.submitted(endless)];
    const id = await service.submitted({ ...learned, steps: 12, batchSize: 32 });
    const all: ServerEvent[] = [];
    for await (const event of service.events(id)) {
      if (all.length === 0)
        for (const b of blocking) await service.fetch(`/v1/jobs/${b}`, { method: 'DELETE' });
      all.push(event);
    }
    expect(all[0]).toMatchObject({ event: 'state', data: { state: 'queued' } });
    const steps = (events: ServerEvent[]) =>
      events.filter((e) => e.event === 'step').map((e) => e.data.step);
    expect(steps(all)).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]);
    expect(all.at(-1)?.event).toBe('end');
    conforms('Job', all.at(-1)?.data);
    expect(all.at(-1)?.data.state).toBe('done');
    expect(new Set(all.filter((e) => e.id).map((e) => e.id)).size).toBe(
      all.filter((e) => e.id).length,
    );
    const from = all.find((e) => e.event === 'step' && e.data.step === 5);
    const rest = [];
    for await (const event of service.events(id, {
      headers: { 'last-event-id': from?.id as string },
    }))
      rest.push(event);
    expect(steps(rest)).toEqual([6, 7, 8, 9, 10, 11, 12]);
    expect(rest.at(-1)).toEqual(all.at(-1));
    // A client that has seen all is told not to come again; one from another life gets the state.
    const last = { 'last-event-id': all.at(-1)?.id as string };
    expect((await service.fetch(`/v1/jobs/${id}/events`, { headers: last })).status).toBe(204);
    for (const unknown of ['00000000-3', 'nonsense', '00000000-999999999999999']) {
      const late = [];
      for await (const event of service.events(id, { headers: { 'last-event-id': unknown } }))
        late.push(event);
      expect(late.map((e) => e.event)).toEqual(['end']);
    }
  });

  test('have heartbeats while nothing happens, and end when the job is removed', async () => {
    const blocking = [await service.submitted(endless), await service.submitted(endless)];
    const id = await service.submitted(uniform);
    const seen = [];
    for await (const event of service.events(id)) {
      seen.push(event.event);
      if (seen.length === 3) await service.fetch(`/v1/jobs/${id}`, { method: 'DELETE' });
    }
    expect(seen.slice(0, 3)).toEqual(['state', 'comment', 'comment']);
    for (const b of blocking) await service.fetch(`/v1/jobs/${b}`, { method: 'DELETE' });
  });

  test('are forgotten with the client that went away', async () => {
    const id = await service.submitted(endless);
    const open = async () =>
      Number(/soups_event_streams (\d+)/.exec(await (await service.fetch('/metrics')).text())?.[1]);
    const gone = new AbortController();
    const events = service.events(id, { signal: gone.signal });
    await events.next();
    expect(await open()).toBe(1);
    gone.abort();
    while ((await open()) > 0) await new Promise((resolve) => setTimeout(resolve, 20));
    await service.fetch(`/v1/jobs/${id}`, { method: 'DELETE' });
  });
});

test('downloads by ranges, conditions and HEAD', async () => {
  const id = await service.submitted(uniform);
  await service.over(id);
  const whole = await service.weights(id);
  const path = `/v1/jobs/${id}/files/model.safetensors`;
  const get = (headers: Record<string, string>, method = 'GET') =>
    service.fetch(path, { method, headers });
  const part = await get({ range: 'bytes=100-299' });
  expect([part.status, part.headers.get('content-range')]).toEqual([
    206,
    `bytes 100-299/${whole.length}`,
  ]);
  expect(Buffer.from(await part.arrayBuffer()).equals(whole.subarray(100, 300))).toBe(true);
  const tail = await get({ range: `bytes=${whole.length - 7}-` });
  expect(Buffer.from(await tail.arrayBuffer()).equals(whole.subarray(-7))).toBe(true);
  const beyond = await get({ range: `bytes=${whole.length}-` });
  expect([beyond.status, ((await beyond.json()) as Json).code]).toEqual([416, 'FILE']);
  expect(beyond.headers.get('content-range')).toBe(`bytes */${whole.length}`);
  const etag = part.headers.get('etag') as string;
  const head = await get({}, 'HEAD');
  expect([head.status, head.headers.get('content-length')]).toEqual([200, String(whole.length)]);
  // Not by fetch, which adds headers of its own to conditional requests.
  const raw = (headers: Record<string, string>) =>
    new Promise<IncomingMessage>((resolve) => {
      const authorization = `Bearer ${TOKEN}`;
      request(`${service.url}${path}`, { headers: { authorization, ...headers } }, resolve).end();
    });
  const same = await raw({ 'if-none-match': etag });
  expect(same.statusCode).toBe(304);
  same.resume();
  // A client that goes away in the middle is no trouble.
  (await raw({})).destroy();
  expect((await service.weights(id)).equals(whole)).toBe(true);
});

test('other methods and addresses', async () => {
  const { headers } = await service.json('/v1/jobs', { method: 'PUT' });
  expect(headers.get('allow')).toContain('POST');
  await problem(service.json('/v1/jobs', { method: 'PUT' }), 405, 'METHOD');
  await problem(service.json('/v1/other'), 404, 'NO_ROUTE');
});
