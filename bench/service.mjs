// node bench/service.mjs [--clients N] [--seconds N] [--restarts N] [--data FOLDER] [--out FILE]
//
// examples/service under load from this, a second process. Clients submit soups of examples/digits (small, so that what
// is measured is the service), follow their events, download them and compare the bytes, cancel some, and remove them.
// First all in one process of the service, whose memory is watched; then with kills (SIGKILL and SIGTERM in turn) in
// between. At the end every job that was accepted must be there, over, and right. FOLDER is where the journal lies: with
// one in memory (/dev/shm) the disk's syncs are left out.
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { parseArgs } from 'node:util';
import { machineOf, ownVersions, root } from './machine.mjs';

const { values: options } = parseArgs({
  options: {
    clients: { type: 'string', default: '8' },
    seconds: { type: 'string', default: '60' },
    restarts: { type: 'string', default: '6' },
    data: { type: 'string', default: tmpdir() },
    out: { type: 'string' },
  },
});
const [clients, seconds, restarts] = ['clients', 'seconds', 'restarts'].map((n) => +options[n]);
const token = 'token-of-the-benchmark';
const folder = mkdtempSync(join(options.data, 'soups-bench-'));
const digits = join(root, 'examples/digits');
const ingredients = readdirSync(join(digits, 'ingredients'))
  .sort()
  .map((name) => join(digits, 'ingredients', name));
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

let service;
async function start() {
  const child = spawn(process.execPath, [join(root, 'examples/service/server.js')], {
    stdio: ['ignore', 'pipe', 'inherit'],
    env: {
      ...process.env,
      SOUPS_ROOTS: digits,
      SOUPS_DATA: folder,
      SOUPS_TOKEN: token,
      SOUPS_PORT: service ? new URL(service.url).port : '0',
      SOUPS_RATE: '1000000',
      SOUPS_ATTEMPTS: '1000',
      SOUPS_KEEP: '1000000',
    },
  });
  const url = await new Promise((resolve) => {
    createInterface({ input: child.stdout }).on('line', (line) => {
      const [, found] = /listening at (http:[^"]+)/.exec(line) ?? [];
      if (found) resolve(found);
    });
  });
  service = { child, url };
}

async function end(signal) {
  const ended = once(service.child, 'close');
  service.child.kill(signal);
  await ended;
}

/** Milliseconds of what was done, by its name. */
const times = {};
async function timed(name, call) {
  const began = performance.now();
  const result = await call();
  times[name] ??= [];
  times[name].push(performance.now() - began);
  return result;
}

async function call(path, init = {}) {
  const headers = { authorization: `Bearer ${token}`, ...init.headers };
  const response = await fetch(`${service.url}${path}`, { ...init, headers });
  if (response.status >= 400)
    throw new Error(`${path}: ${response.status} ${await response.text()}`);
  return response;
}

/** What a client does that the service may be killed under: again, until it is answered. */
async function persistently(attempt) {
  for (;;) {
    try {
      return await attempt();
    } catch (e) {
      if (e.message !== 'fetch failed' && e.message !== 'terminated' && !/: 503 /.test(e.message))
        throw e;
      await pause(50);
    }
  }
}

/** Until the last event, which is the job that is over; connected again where the connection ends. */
async function follow(id) {
  let last = '';
  for (;;) {
    const over = await persistently(async () => {
      const response = await call(`/v1/jobs/${id}/events`, { headers: { 'last-event-id': last } });
      let text = '';
      const decoder = new TextDecoder();
      for await (const piece of response.body) text += decoder.decode(piece, { stream: true });
      last =
        text
          .match(/^id: (.*)$/gm)
          ?.at(-1)
          ?.slice(4) ?? last;
      const end = /^event: end\ndata: (.*)$/m.exec(text)?.[1];
      return end && JSON.parse(end);
    });
    if (over) return over;
  }
}

/** The bytes' hash by what was asked for: all answers must agree. */
const hashes = new Map();
const counts = { accepted: 0, done: 0, cancelled: 0, wrong: 0 };
const accepted = [];
let key = 0;

async function job(n, keep) {
  const k = 2 + (n % 7);
  const learned = n % 20 === 19;
  const body = JSON.stringify(
    learned
      ? {
          recipe: 'learned',
          ingredients: ingredients.slice(0, k),
          data: join(digits, 'heldout'),
          steps: 3,
          batchSize: 64,
        }
      : { recipe: 'uniform', ingredients: ingredients.slice(0, k), dtype: n % 2 ? 'keep' : 'bf16' },
  );
  const began = performance.now();
  const headers = { 'content-type': 'application/json', 'idempotency-key': `bench-${key++}` };
  const { id } = await timed('submit', () =>
    persistently(async () => (await call('/v1/jobs', { method: 'POST', headers, body })).json()),
  );
  counts.accepted++;
  if (keep) accepted.push({ id, body });
  if (n % 10 === 5)
    await persistently(() => call(`/v1/jobs/${id}/cancel`, { method: 'POST' })).catch((e) => {
      if (!/: 409 /.test(e.message)) throw e; // over already
    });
  const over = await follow(id);
  if (over.state === 'done') {
    const bytes = await timed('download', () =>
      persistently(async () =>
        (await call(`/v1/jobs/${id}/files/model.safetensors`)).arrayBuffer(),
      ),
    );
    const hash = createHash('sha256').update(Buffer.from(bytes)).digest('hex');
    if (!hashes.has(body)) hashes.set(body, hash);
    if (hashes.get(body) !== hash) counts.wrong++;
    counts.done++;
    times[learned ? 'learned job' : 'uniform job'] ??= [];
    times[learned ? 'learned job' : 'uniform job'].push(performance.now() - began);
  } else if (over.state === 'cancelled') counts.cancelled++;
  else throw new Error(JSON.stringify(over));
  await timed('state', () => persistently(async () => (await call(`/v1/jobs/${id}`)).json()));
  if (!keep) await persistently(() => call(`/v1/jobs/${id}`, { method: 'DELETE' }));
}

async function load(until, keep) {
  let n = 0;
  const client = async () => {
    while (!until()) await job(n++, keep);
  };
  const began = performance.now();
  await Promise.all(Array.from({ length: clients }, client));
  return { jobs: n, seconds: (performance.now() - began) / 1000 };
}

const percentiles = (values) => {
  const sorted = [...values].sort((a, b) => a - b);
  const at = (p) => +sorted[Math.min(sorted.length - 1, Math.floor(p * sorted.length))].toFixed(2);
  return { n: sorted.length, p50: at(0.5), p90: at(0.9), p99: at(0.99), max: at(1) };
};

/** Resident MiB of a process by what the memory is of; glibc's arenas begin at multiples of 64 MiB. */
function residentOf(pid) {
  const mib = { heap: 0, arenas: 0, files: 0, other: 0 };
  let kind = 'other';
  for (const line of readFileSync(`/proc/${pid}/smaps`, 'utf8').split('\n')) {
    const [, from, name] = /^([0-9a-f]+)-[0-9a-f]+ \S+ \S+ \S+ \S+ *(.*)$/.exec(line) ?? [];
    if (from !== undefined) {
      const arena = name === '' && BigInt(`0x${from}`) % BigInt(64 * 2 ** 20) === 0n;
      kind =
        name === '[heap]' ? 'heap' : name.startsWith('/') ? 'files' : arena ? 'arenas' : 'other';
    }
    const rss = /^Rss: +(\d+)/.exec(line);
    if (rss) mib[kind] += rss[1] / 1024;
  }
  return Object.fromEntries(Object.entries(mib).map(([name, n]) => [name, +n.toFixed(1)]));
}

/** Least squares: how much y grows with x. */
function slope(points) {
  const mean = (f) => points.reduce((s, p) => s + f(p), 0) / points.length;
  const [x, y] = [mean((p) => p.x), mean((p) => p.y)];
  return mean((p) => (p.x - x) * (p.y - y)) / mean((p) => (p.x - x) ** 2);
}

try {
  await start();
  const memory = [];
  const began = performance.now();
  const sampler = setInterval(() => {
    const status = readFileSync(`/proc/${service.child.pid}/status`, 'utf8');
    const mib = Number(/VmRSS:\s+(\d+)/.exec(status)[1]) / 1024;
    memory.push({ x: (performance.now() - began) / 1000, y: mib, jobs: counts.accepted });
  }, 250);
  let early;
  setTimeout(() => {
    early = residentOf(service.child.pid);
  }, seconds * 333);
  const steady = await load(() => performance.now() - began > seconds * 1000, false);
  clearInterval(sampler);
  const resident = { afterAThird: early, last: residentOf(service.child.pid) };
  const metrics = await (await call('/metrics')).text();
  const lag = +/^nodejs_eventloop_lag_p99_seconds (\S+)/m.exec(metrics)[1];
  const steadyCounts = { ...counts };
  const latency = Object.fromEntries(Object.entries(times).map(([n, t]) => [n, percentiles(t)]));
  const late = memory.slice((memory.length * 2) / 3);

  let killing = true;
  const killed = load(() => !killing, true);
  for (let i = 0; i < restarts; i++) {
    await pause(700 + ((i * 389) % 900));
    await end(i % 3 === 2 ? 'SIGTERM' : 'SIGKILL');
    await start();
  }
  killing = false;
  const { jobs: underKills } = await killed;
  // Nothing is lost: each job that was accepted is known, over, and its bytes are right.
  let lost = 0;
  let starts = 0;
  for (const { id, body } of accepted) {
    const response = await fetch(`${service.url}/v1/jobs/${id}`, {
      headers: { authorization: `Bearer ${token}` },
    });
    const found = await response.json();
    if (!['done', 'cancelled'].includes(found.state)) lost++;
    if (found.starts > 1) starts++;
    if (found.state !== 'done') continue;
    const bytes = await (await call(`/v1/jobs/${id}/files/model.safetensors`)).arrayBuffer();
    if (createHash('sha256').update(Buffer.from(bytes)).digest('hex') !== hashes.get(body))
      counts.wrong++;
  }
  await end('SIGTERM');

  const { dependencies } = JSON.parse(
    readFileSync(join(root, 'examples/service/package.json'), 'utf8'),
  );
  const installed = (name) =>
    JSON.parse(readFileSync(join(root, 'node_modules', name, 'package.json'), 'utf8')).version;
  const result = {
    command: `node bench/service.mjs --clients ${clients} --seconds ${seconds} --restarts ${restarts} --data ${options.data}`,
    date: new Date().toISOString().slice(0, 10),
    machine: machineOf(folder),
    versions: {
      ...ownVersions(),
      ...Object.fromEntries(Object.keys(dependencies).map((n) => [n, installed(n)])),
    },
    steady: {
      ...steadyCounts,
      seconds: +steady.seconds.toFixed(1),
      jobsPerSecond: +(steady.jobs / steady.seconds).toFixed(1),
      milliseconds: latency,
      eventLoopLagP99Milliseconds: +(lag * 1000).toFixed(2),
      memoryMiB: {
        first: +memory[0].y.toFixed(1),
        twoThirds: +late[0].y.toFixed(1),
        last: +memory.at(-1).y.toFixed(1),
        peak: +Math.max(...memory.map((m) => m.y)).toFixed(1),
        slopePerMinuteInLastThird: +(slope(late) * 60).toFixed(2),
        slopePerThousandJobsInLastThird: +(
          1000 * slope(late.map((m) => ({ x: m.jobs, y: m.y })))
        ).toFixed(2),
        resident,
      },
    },
    restarted: { kills: restarts, jobs: underKills, jobsStartedAgain: starts, lost },
    wrong: counts.wrong,
  };
  console.log(JSON.stringify(result, null, 2));
  if (options.out) writeFileSync(options.out, `${JSON.stringify(result, null, 2)}\n`);
  if (lost > 0 || counts.wrong > 0) process.exitCode = 1;
} finally {
  service?.child.kill('SIGKILL');
  rmSync(folder, { recursive: true, force: true });
}
