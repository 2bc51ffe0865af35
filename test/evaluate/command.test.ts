import { existsSync } from 'node:fs';
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { setTimeout as wait } from 'node:timers/promises';
import { beforeAll, describe, expect, it } from 'vitest';
import { makeCandidate } from '../../lib/evaluate/candidate.js';
import {
  type Checkpoint,
  type CommandOptions,
  commandEvaluator,
  greedy,
  openCheckpoint,
  uniform,
} from '../../lib/index.js';
import { finished, start, stockpot } from '../helpers/cli.js';
import { failure } from '../helpers/errors.js';
import { useFolder } from '../helpers/folder.js';
import { putTensors, readBack, tensor } from '../helpers/safetensors.js';

const at = useFolder();
let models: Checkpoint[] = [];
let paths: string[] = [];

beforeAll(async () => {
  paths = await Promise.all(
    [0, 1, 2].map((i) =>
      putTensors(at(`${i}.safetensors`), [
        tensor('w', 'F32', [2], [i + 0.1, -i]),
        tensor('h', 'F16', [3], [i, i / 3, 1]),
        tensor('n', 'I64', [1], [7]),
      ]),
    ),
  );
  models = await Promise.all(paths.map((p) => openCheckpoint(p)));
});

const soup = () => makeCandidate('greedy', models, [1 / 3, 1 / 3, 1 / 3], {});
const ask = (command: string, options: CommandOptions = {}, signal?: AbortSignal) =>
  Promise.resolve(commandEvaluator(command, options).evaluate(soup(), { beta: 1.5, signal }));

const isAlive = (pid: number): boolean => {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
};

/** A process that was killed may be a zombie for a moment, until its new parent has noticed. */
async function expectDead(pid: number): Promise<void> {
  for (let i = 0; i < 100 && isAlive(pid); i++) {
    const state = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => ') Z');
    if (/\) Z/.test(state)) return;
    await wait(50);
  }
  expect(isAlive(pid)).toBe(false);
}

async function pidIn(name: string): Promise<number> {
  for (;;) {
    const text = await readFile(at(name), 'utf8').catch(() => '');
    if (text.endsWith('\n')) return Number(text);
    await wait(20);
  }
}

describe('a program that evaluates', () => {
  it('finds the soup in a folder, to the byte what would be saved, which is gone afterwards', async () => {
    const copy = at('copy.safetensors');
    const command = `cp {soup}/model.safetensors '${copy}'; echo {soup}; echo $STOCKPOT_SOUP $STOCKPOT_BETA >&2; echo 0.25`;
    expect(await ask(command)).toBe(0.25);
    await uniform(models, at('uniform.safetensors'), { overwrite: true });
    const [found, expected] = [await readBack(copy), await readBack(at('uniform.safetensors'))];
    expect(found.tensors).toEqual(expected.tensors);
    const where = at('where');
    await ask(`printf '%s\\n' {soup} "$STOCKPOT_SOUP" "$STOCKPOT_BETA" > '${where}'; echo 1`);
    const [path, same, beta] = (await readFile(where, 'utf8')).split('\n');
    expect([same, beta]).toEqual([path, '1.5']);
    expect(existsSync(path as string)).toBe(false);
    expect(await readdir(at()).then((n) => n.includes('copy.safetensors'))).toBe(true);
  });

  it('gets a path that the shell takes as one word', async () => {
    const before = process.env.TMPDIR;
    process.env.TMPDIR = at("it's $HOME; a folder");
    await mkdir(process.env.TMPDIR);
    try {
      expect(await ask('test -f {soup}/model.safetensors && echo 3')).toBe(3);
      expect(await readdir(process.env.TMPDIR)).toEqual([]);
    } finally {
      if (before === undefined) delete process.env.TMPDIR;
      else process.env.TMPDIR = before;
    }
  });

  it('says a number or JSON in its last line', async () => {
    expect(await ask('echo start; printf "%s\\n\\n  \\n" 1e-3 # {soup}')).toBe(1e-3);
    expect(await ask('printf 0.5 # {soup}')).toBe(0.5);
    expect(await ask('echo nan # {soup}')).toBeNaN();
    expect(await ask('echo -inf # {soup}')).toBe(Number.NEGATIVE_INFINITY);
    const say = (o: string) => ask(`echo '${o}' # {soup}`);
    expect(await say('{"metrics": {"accuracy": 0.5, "f1": 1}, "loss": NaN, "other": [1]}')).toEqual(
      {
        metrics: { accuracy: 0.5, f1: 1 },
        loss: Number.NaN,
      },
    );
    expect(await say('{"accuracy": 0.5}')).toEqual({ metrics: { accuracy: 0.5 } });
    expect(await say('{"logits": [[1, 2], [NaN, -Infinity]]}')).toEqual({
      metrics: {},
      logits: [
        [1, 2],
        [Number.NaN, Number.NEGATIVE_INFINITY],
      ],
    });
  });

  it('may write much', async () => {
    const much = `i=0; while [ $i -lt 30 ]; do head -c 1000000 /dev/zero | tr '\\0' 'x'; echo; i=$((i+1)); done`;
    expect(await ask(`${much}; echo 0.75; (${much}) >&2 # {soup}`)).toBe(0.75);
    const error = await failure(
      ask("head -c 3000000 /dev/zero | tr '\\0' 'x'; echo; sleep 60 # {soup}", {
        longestLine: 1e6,
      }),
      'EVALUATOR',
    );
    expect(error.message).toMatch(/more than 1000000 bytes/);
  });

  it.for([
    ['nothing', 'true', /wrote nothing/],
    ['no number', 'echo accuracy: 0.9', /"accuracy: 0.9", which is no number/],
    ['half of JSON', `echo '{"loss": '`, /no number and no JSON/],
    ['JSON that is no object', 'echo "[1, 2]"', /expected a number or a JSON object/],
    ['a metric that is no number', `echo '{"loss": "low"}'`, /gave loss as "low"/],
    ['ragged logits', `echo '{"logits": [[1], [1, 2]]}'`, /no rows of numbers/],
    ['logits of words', `echo '{"logits": [["a"]]}'`, /no rows of numbers/],
    ['binary', 'head -c 100 /dev/urandom | tr -d "\\n0-9"', /no number|nothing/],
  ] as const)('%s is refused', async ([, command, message]) => {
    expect((await failure(ask(`${command} # {soup}`), 'EVALUATOR')).message).toMatch(message);
  });

  it('fails with its exit code and what it said on stderr', async () => {
    const error = await failure(
      ask('echo 0.9; echo Traceback >&2; echo "KeyError: head" >&2; exit 3 # {soup}'),
      'EVALUATOR',
    );
    expect(error.message).toMatch(/ended with exit code 3/);
    expect(error.details.map((d) => d.message).slice(1)).toEqual(['Traceback', 'KeyError: head']);
    expect((await failure(ask('kill -9 $$ # {soup}'), 'EVALUATOR')).message).toMatch(/SIGKILL/);
    expect((await failure(ask('no-such-program {soup}'), 'EVALUATOR')).message).toMatch(/127/);
  });

  it('is refused without {soup}, or with a time-out that is none', async () => {
    expect(() => commandEvaluator('python eval.py')).toThrow(/\{soup\}/);
    for (const timeout of [0, -1, Number.NaN, Number.POSITIVE_INFINITY, 1e9])
      expect(() => commandEvaluator('x {soup}', { timeout })).toThrow(/time-out/);
  });
});

describe('the whole process group ends', () => {
  const hang = (pids: string, trap = '') =>
    `${trap} (${trap} sleep 300 & echo $! > '${at(pids)}'; wait) | cat # {soup}`;

  it('at the time-out, and the folder goes', async () => {
    const where = at('timed');
    const call = ask(`printf %s {soup} > '${where}'; ${hang('timeout')}`, { timeout: 0.4 });
    expect((await failure(call, 'EVALUATOR')).message).toMatch(/did not end within 0.4 s/);
    await expectDead(await pidIn('timeout'));
    expect(existsSync(await readFile(where, 'utf8'))).toBe(false);
  });

  it('when the call is aborted', async () => {
    const stop = new AbortController();
    const call = failure(ask(hang('aborted'), {}, stop.signal), 'ABORTED');
    const pid = await pidIn('aborted');
    expect(isAlive(pid)).toBe(true);
    stop.abort();
    await call;
    await expectDead(pid);
  });

  it('even if it does not want to', async () => {
    const call = ask(hang('stubborn', "trap '' TERM;"), { timeout: 0.3 });
    await failure(call, 'EVALUATOR');
    await expectDead(await pidIn('stubborn'));
  });

  it('what it left in the background, which does not hold up the answer', async () => {
    expect(await ask(`sleep 300 & echo $! > '${at('left')}'; echo 4 # {soup}`)).toBe(4);
    await expectDead(await pidIn('left'));
  });

  it('with the command line that started it', async () => {
    const tmp = at('tmp');
    await mkdir(tmp);
    const env = { ...process.env, TMPDIR: tmp };
    for (const how of ['SIGINT', 'twice'] as const) {
      const args = ['greedy', ...paths, '-o', at('never'), '--evaluate', hang(how)];
      const child = start(args, { env });
      const done = finished(child);
      const pid = await pidIn(how);
      child.kill('SIGINT');
      if (how === 'twice') child.kill('SIGTERM');
      expect((await done).code).toBe(130);
      await expectDead(pid);
      expect(await readdir(tmp)).toEqual([]);
      expect(existsSync(at('never'))).toBe(false);
    }
  });
});

describe('recipes by a program', () => {
  /** Prints the first element of `w`. */
  const first = `node -e 'const b = require("fs").readFileSync(process.argv[1] + "/model.safetensors"); const n = Number(b.readBigUInt64LE(0)); const h = JSON.parse(b.toString("utf8", 8, 8 + n)); console.log(b.readFloatLE(8 + n + h.w.data_offsets[0]))' {soup}`;

  it('greedy', async () => {
    const out = at('greedy.safetensors');
    const { code, stdout } = await stockpot([
      ...['greedy', ...paths, '-o', out, '--evaluate', first, '--timeout', '60', '--json'],
    ]);
    const made = JSON.parse(stdout);
    expect(code).toBe(0);
    expect([made.order, made.members]).toEqual([[2, 1, 0], [2]]);
    expect(made.trace[0].value).toBeCloseTo(1.6, 6);
  });

  it('a metric of NaN is never kept', async () => {
    const evaluator = commandEvaluator(`case $(${first}) in 2.*) echo 0.5;; *) echo nan;; esac`);
    const made = await greedy(models, at('nan.safetensors'), { evaluator });
    expect([made.order, made.members]).toEqual([[2, 0, 1], [2]]);
  });

  it('evaluate: what it says, and null for what it does not', async () => {
    const program = at('program.mjs');
    await writeFile(
      program,
      'console.log(JSON.stringify({ loss: 2, metrics: { accuracy: 0.5 } }))',
    );
    const { stdout } = await stockpot([
      ...['evaluate', paths[0] as string, '--evaluate', `node '${program}' {soup}`, '--json'],
    ]);
    expect(JSON.parse(stdout)).toEqual({
      models: [
        { model: paths[0], n: null, accuracy: 0.5, loss: 2, ece: null, f1: null, matthews: null },
      ],
    });
  });

  it('a dry run runs nothing, and says what is known without the program', async () => {
    const [ran, out] = [at('ran'), at('dry.safetensors')];
    const program = ['--evaluate', `touch '${ran}'; echo 1 {soup}`, '--dry-run', '--json'];
    const { code, stdout } = await stockpot(['evaluate', ...paths, ...program]);
    expect(code).toBe(0);
    const bytes = 3 * (2 * 4 + 3 * 2 + 8);
    expect(JSON.parse(stdout)).toMatchObject({ n: null, classes: null, bytesRead: bytes });
    expect((await stockpot(['predict', ...paths.slice(0, 1), '-o', out, ...program])).code).toBe(0);
    expect((await stockpot(['greedy', ...paths, '-o', out, ...program])).code).toBe(0);
    expect([existsSync(ran), existsSync(out)]).toEqual([false, false]);
  });

  it('not beside a graph', async () => {
    const args = ['evaluate', paths[0] as string, '--evaluate', 'x {soup}', '--graph', 'g.onnx'];
    expect((await stockpot(args)).code).toBe(2);
  });
});

describe('a function', () => {
  it('gets tensors on demand, equal to those that would be saved', async () => {
    const candidate = soup();
    await candidate.save(at('saved.safetensors'));
    const saved = await readBack(at('saved.safetensors'));
    const listed = await candidate.tensors();
    expect(new Set(listed.map((t) => t.name))).toEqual(new Set(saved.tensors.keys()));
    for (const { name, dtype, shape } of listed) {
      const t = await candidate.tensor(name);
      const expected = saved.tensors.get(name);
      expect([t.dtype, t.shape, dtype]).toEqual([expected?.dtype, expected?.shape, t.dtype]);
      expect(Buffer.compare(t.bytes, expected?.bytes as Buffer)).toBe(0);
      expect(shape).toEqual(t.shape);
    }
    expect([...(await candidate.tensor('h')).float32()]).toHaveLength(3);
    const whole = await candidate.tensor('n');
    expect(() => whole.float32()).toThrow(/not floating/);
    await failure(candidate.tensor('x'), 'USAGE');
  });

  it('that fails says so', async () => {
    const evaluator = () => {
      throw new Error('no\nluck');
    };
    const error = await failure(greedy(models, at('f.safetensors'), { evaluator }), 'EVALUATOR');
    expect(error.message).toMatch(/failed: no$/);
  });
});
