// What a device does beside what is looked at: the next batch, and the next ingredient; on the emulated device.
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterEach, beforeAll, expect, it, vi } from 'vitest';
import { makeCandidate } from '../../lib/evaluate/candidate.js';
import { openEngine } from '../../lib/evaluate/engine.js';
import { DeviceFeed } from '../../lib/evaluate/feed.js';
import { Session } from '../../lib/evaluate/session.js';
import { greedy, nativeEvaluator, openCheckpoint } from '../../lib/index.js';
import { type NativeJob, native } from '../../lib/native.js';
import { finished, root, startScript } from '../helpers/cli.js';
import { failure } from '../helpers/errors.js';
import { useFolder } from '../helpers/folder.js';
import { useEmulatedDevice } from './emulated.js';
import { someImages } from './some_images.js';

const at = useFolder();
const { library } = useEmulatedDevice();

const DIGITS = join(root, 'examples/digits');
const digits = [0, 1, 2, 3].map((i) => join(DIGITS, `ingredients/ft0${i}`));
const N = 30;

let data = '';
beforeAll(() => {
  data = someImages(join(DIGITS, 'heldout'), 3, at('data'));
});

afterEach(() => {
  vi.restoreAllMocks();
});

let files = 0;

/** Calls of the addon by their names, and how many of its forward passes are not over. */
function watch() {
  const seen = { calls: [] as string[], running: 0 };
  const addon = native();
  for (const name of ['forward', 'hold', 'merge'] as const) {
    const real = addon[name] as (...a: never[]) => NativeJob<unknown>;
    vi.spyOn(addon, name).mockImplementation(((...given: never[]) => {
      seen.calls.push(name);
      const job = real(...given);
      if (name === 'forward') {
        seen.running++;
        const over = () => {
          seen.running--;
        };
        job.promise.then(over, over);
      }
      return job;
    }) as never);
  }
  return seen;
}

/** A recipe with an evaluator of small batches. */
async function greedyOn(
  device: string,
  options: { signal?: AbortSignal; onStep?: () => void } = {},
) {
  const evaluator = await nativeEvaluator(digits, { data, device, batchSize: 8 });
  try {
    return await greedy(digits, at(`soup-${files++}`), { evaluator, device, ...options });
  } finally {
    await evaluator.close();
  }
}

const freeOnDevice = (): number => {
  const engine = openEngine('cuda');
  const free = engine.available();
  engine.close();
  return free;
};

const looks = async (device: string): Promise<number[]> => {
  const evaluator = await nativeEvaluator(digits, { data, device, batchSize: 8 });
  const checkpoints = await Promise.all(digits.map((d) => openCheckpoint(d)));
  const soup = makeCandidate('uniform', checkpoints, [0.25, 0.25, 0.25, 0.25], {});
  const order = Int32Array.from({ length: N }, (_, i) => i);
  const seen = watch();
  const begun: number[] = [];
  for await (const _ of evaluator.batches(soup, order, { beta: 1 }))
    begun.push(seen.calls.filter((c) => c === 'forward').length);
  await evaluator.close();
  return begun;
};

it('the next batch is begun when the logits of one are looked at', async () => {
  expect(await looks('cuda')).toEqual([2, 3, 4, 4]);
  vi.restoreAllMocks();
  expect(await looks('cpu')).toEqual([1, 2, 3, 4]);
});

it('whoever has seen enough leaves nothing behind', async () => {
  const evaluator = await nativeEvaluator(digits, { data, device: 'cuda', batchSize: 8 });
  const checkpoints = await Promise.all(digits.map((d) => openCheckpoint(d)));
  const soup = makeCandidate('uniform', checkpoints, [1, 0, 0, 0], {});
  const order = Int32Array.from({ length: N }, (_, i) => i);
  const seen = watch();
  for await (const _ of evaluator.batches(soup, order, { beta: 1 })) break;
  expect(seen.calls.filter((c) => c === 'forward')).toHaveLength(2);
  expect(seen.running).toBe(0);
  await evaluator.close();
});

it.each(['resident', 'copied'])('greedy is the processor’s, with the set %s', async (how) => {
  if (how === 'copied') vi.spyOn(DeviceFeed.prototype, 'place').mockImplementation(() => {});
  const [cpu, cuda] = [await greedyOn('cpu'), await greedyOn('cuda')];
  expect(cuda.trace).toEqual(cpu.trace);
  expect(cuda.trace.some((s) => (s.evaluated as number) < N)).toBe(true);
  const { members, order, accuracy, value, sha256 } = cpu;
  expect(cuda).toMatchObject({ members, order, accuracy, value, sha256 });
});

it('the next ingredient is read while a candidate is evaluated', async () => {
  const seen = watch();
  await greedyOn('cuda');
  // Alone: each mix is followed by the read of the next one, before the first batch; the first is read when it is needed.
  const alone = seen.calls.slice(0, seen.calls.lastIndexOf('hold') + 2);
  const batches = ['forward', 'forward', 'forward', 'forward'];
  expect(alone.filter((c) => c === 'hold')).toHaveLength(digits.length);
  expect(alone.slice(0, 7)).toEqual(['hold', 'merge', 'hold', ...batches]);
  expect(alone.slice(7, 9)).toEqual(['merge', 'hold']);
});

const failing = (): NativeJob<number> => ({
  promise: Promise.reject({ kind: 'device', file: -1, segment: -1, what: 'it fell off' }),
  abort() {},
  progress: () => ({ bytesRead: 0, bytesWritten: 0 }),
});

it('what goes wrong with it is said when it is needed, and it is tried again before', async () => {
  const session = await Session.open(digits, { data, device: 'cuda' });
  session.expect([1]);
  const hold = vi.spyOn(native(), 'hold');
  await session.load([0]);
  expect(hold).toHaveBeenCalledTimes(2);
  hold.mockImplementationOnce(failing).mockImplementationOnce(failing);
  session.expect([2]);
  await session.load([1]); // 2 fails behind it
  await session.logits([0]);
  expect((await failure(session.load([2]), 'DEVICE')).message).toContain('it fell off');
  await session.load([2]);
  await session.close();
});

it('an abort ends batch and read, and all memory comes back', async () => {
  const before = freeOnDevice();
  const stop = new AbortController();
  const aborted = greedyOn('cuda', { signal: stop.signal, onStep: () => stop.abort() });
  await failure(aborted, 'ABORTED');
  const session = await Session.open(digits, { data, device: 'cuda' });
  session.expect([1]);
  await session.load([0]);
  await session.close(); // while it is read
  expect(freeOnDevice()).toBe(before);
});

/** Workers that make a greedy soup, one of which is ended while it evaluates. */
const WORKERS = `
  import { Worker } from 'node:worker_threads';
  const [library, models, data, out] = JSON.parse(process.env.JOB);
  const code = \`
    import { parentPort, workerData } from 'node:worker_threads';
    const { greedy, nativeEvaluator } = await import(workerData.library);
    const { models, data, out, id } = workerData;
    const evaluator = await nativeEvaluator(models, { data, device: 'cuda', batchSize: 8 });
    const soup = await greedy(models, out + id + '.safetensors', {
      evaluator, device: 'cuda', onStep: () => parentPort.postMessage('step'),
    });
    await evaluator.close();
    parentPort.postMessage(JSON.stringify([soup.members, soup.accuracy]));
  \`;
  const url = new URL('data:text/javascript,' + encodeURIComponent(code));
  const work = (id, ended) => new Promise((resolve) => {
    const worker = new Worker(url, { workerData: { library, models, data, out, id } });
    let last;
    worker.on('message', (m) => {
      last = m;
      if (ended) worker.terminate();
    });
    worker.on('error', (e) => resolve(String(e)));
    worker.on('exit', () => resolve(last));
  });
  console.log(JSON.stringify(await Promise.all([work(0, false), work(1, false), work(2, true)])));
`;

it('worker threads: two at a time, and one that is ended', async () => {
  const dist = pathToFileURL(join(root, 'dist/index.js')).href;
  const JOB = JSON.stringify([dist, digits, data, at('worker')]);
  const child = startScript(WORKERS, {
    env: { ...process.env, JOB, STOCKPOT_CUDA_LIBRARY: library },
  });
  const { code, signal, stdout, stderr } = await finished(child);
  expect([code, signal, stderr]).toEqual([0, null, '']);
  const cpu = await greedyOn('cpu');
  const [a, b, ended] = JSON.parse(stdout) as string[];
  const wanted = JSON.stringify([cpu.members, cpu.accuracy]);
  expect([a, b, ended]).toEqual([wanted, wanted, 'step']);
});
