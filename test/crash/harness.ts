// Kills runs at random moments and has them go on, as a user would; what comes out is compared with undisturbed runs.
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
} from 'node:fs';
import { join, relative } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { preloaded } from '../helpers/sanitized.js';
import type { Scenario } from './scenarios.js';

/**
 * Compiles the library that ends a process at a call on files (fault.c).
 * @param library its path, without spaces and colons: the loader takes these between several
 * @returns whether that can be done
 */
export function buildFault(source: string, library: string): boolean {
  if (process.platform !== 'linux' || /[\s:]/.test(library)) return false;
  const made = spawnSync('cc', ['-shared', '-fPIC', '-O1', '-o', library, source, '-ldl']);
  return made.status === 0;
}

export { randomNumbers as randomOf } from '../../lib/learn/minibatches.js';

/** Everything in a folder: SHA-256 of files by relative path, '' for folders. */
export type Snapshot = Map<string, string>;

export function snapshot(folder: string): Snapshot {
  const found: Snapshot = new Map();
  if (!existsSync(folder)) return found;
  for (const entry of readdirSync(folder, { recursive: true, withFileTypes: true })) {
    const path = join(entry.parentPath ?? entry.path, entry.name);
    const hash = entry.isFile()
      ? createHash('sha256').update(readFileSync(path)).digest('hex')
      : '';
    found.set(relative(folder, path), hash);
  }
  return found;
}

/** What differs between two snapshots; '' where nothing does. */
export function difference(found: Snapshot, expected: Snapshot): string {
  const lines = [...found]
    .filter(([name, hash]) => expected.get(name) !== hash)
    .map(([name]) => `${expected.has(name) ? 'other' : 'more'}: ${name}`);
  for (const name of expected.keys()) if (!found.has(name)) lines.push(`missing: ${name}`);
  return lines.sort().join(', ');
}

const below = (all: Snapshot, name: string): Snapshot =>
  new Map([...all].filter(([path]) => path === name || path.startsWith(`${name}/`)));

export interface Places {
  /** The command line's program. */
  program: string;
  fault: string;
  /** Scratch folder; `box` in it is what a run may write to: outputs, state and temporary files. */
  work: string;
}

const boxOf = ({ work }: Places): string => join(work, 'box');

/** Environment for the library of faults; without `at` it only counts. */
function environment(places: Places, at?: number, does?: 'before' | 'after'): NodeJS.ProcessEnv {
  return {
    ...process.env,
    TMPDIR: join(boxOf(places), 'tmp'),
    LD_PRELOAD: preloaded(places.fault),
    FAULT_ROOT: `${boxOf(places)}/`,
    FAULT_CALLS: 'write',
    FAULT_LOG: join(places.work, 'calls'),
    ...(at !== undefined && { FAULT_AT: String(at), FAULT_DOES: does }),
  };
}

/** A run in a process group of its own. */
function start(places: Places, scenario: Scenario, env: NodeJS.ProcessEnv): ChildProcess {
  rmSync(join(places.work, 'calls'), { force: true });
  return spawn(process.execPath, [places.program, ...scenario.args(boxOf(places))], {
    env: { ...env, ...scenario.env },
    detached: true,
    stdio: ['ignore', 'ignore', 'pipe'],
  });
}

const ended = (child: ChildProcess): Promise<{ code: number | null; stderr: string }> => {
  let stderr = '';
  child.stderr?.setEncoding('utf8').on('data', (text) => {
    stderr += text;
  });
  return new Promise((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (code) => resolve({ code, stderr }));
  });
};

/** The process and all below it, whatever their groups. */
function treeOf(root: number): number[] {
  const parents = new Map<number, number>();
  for (const name of readdirSync('/proc')) {
    if (!/^\d+$/.test(name)) continue;
    try {
      const text = readFileSync(`/proc/${name}/stat`, 'utf8');
      parents.set(Number(name), Number(text.slice(text.lastIndexOf(')') + 2).split(' ')[1]));
    } catch {} // ended meanwhile
  }
  const tree = [root];
  for (const pid of tree) for (const [child, up] of parents) if (up === pid) tree.push(child);
  return tree;
}

function killTree(root: number): void {
  for (const pid of treeOf(root)) {
    try {
      process.kill(pid, 'SIGKILL');
    } catch {} // ended meanwhile
  }
}

/** `CALL PATH` of each call on files that the last run made. */
export const callsOf = ({ work }: Pick<Places, 'work'>): string[] => {
  const log = join(work, 'calls');
  return existsSync(log) ? readFileSync(log, 'utf8').split('\n').filter(Boolean) : [];
};

/** Puts the box as it is before the first run. */
function reset(places: Places, scenario: Scenario): void {
  const box = boxOf(places);
  rmSync(box, { recursive: true, force: true });
  for (const name of ['out', 'tmp']) mkdirSync(join(box, name), { recursive: true });
  if (scenario.old)
    cpSync(join(places.work, 'old', scenario.output), join(box, 'out', scenario.output), {
      recursive: true,
    });
}

/** An undisturbed run: what it leaves, how long it takes, and its calls on files. */
export interface Baseline {
  left: Snapshot;
  before: Snapshot;
  seconds: number;
  calls: string[];
}

/** @throws Error where the run fails, or two runs leave different things */
export async function measure(places: Places, scenario: Scenario, runs: number): Promise<Baseline> {
  const old = join(places.work, 'old', scenario.output);
  if (scenario.old && !existsSync(old)) {
    const made = spawnSync(process.execPath, [places.program, ...scenario.old(old)], {
      encoding: 'utf8',
    });
    if (made.status !== 0) throw new Error(`${scenario.name}: ${made.stderr}`);
  }
  let baseline: Baseline | undefined;
  for (let i = 0; i < runs; i++) {
    reset(places, scenario);
    const before = snapshot(boxOf(places));
    const began = performance.now();
    const { code, stderr } = await ended(start(places, scenario, environment(places)));
    const seconds = (performance.now() - began) / 1000;
    if (code !== 0) throw new Error(`${scenario.name}: ${stderr}`);
    const left = snapshot(boxOf(places));
    const unlike = baseline && difference(left, baseline.left);
    if (unlike) throw new Error(`${scenario.name}: two undisturbed runs differ: ${unlike}`);
    baseline = {
      left,
      before,
      seconds: Math.min(seconds, baseline?.seconds ?? seconds),
      calls: callsOf(places),
    };
  }
  return baseline as Baseline;
}

/** One moment at which a run is killed. */
export type Moment =
  /** So many seconds after its start. */
  | { kind: 'time'; seconds: number }
  /** At the nth call on files that changes the disk, before or after it is made. */
  | { kind: 'call'; at: number; does: 'before' | 'after' };

export interface Kill {
  moment: Moment['kind'];
  /** 0 for the first run, 1 for the one that goes on, … */
  round: number;
  /** The last call on files before the kill, and of what: `rename output`; `nothing yet`. */
  hit: string;
  /** What was in the output's place then. */
  output: 'none' | 'old' | 'new';
}

export interface Cycle {
  kills: Kill[];
  /** What must not be, in words. */
  failures: string[];
}

const what = (box: string, call: string | undefined): string => {
  if (call === undefined) return 'nothing yet';
  const [name] = call.split(' ');
  const path = relative(box, call.slice((name as string).length + 1));
  const [top] = path.split('/');
  return `${name} ${top === 'out' ? 'output' : top === 'tmp' ? 'temporary' : 'state'}`;
};

/**
 * Kills a run, and what goes on after it, at these moments; then lets one end, and compares.
 * A moment that comes after the run has ended is no kill.
 */
export async function cycle(
  places: Places,
  scenario: Scenario,
  baseline: Baseline,
  moments: readonly Moment[],
): Promise<Cycle> {
  const box = boxOf(places);
  reset(places, scenario);
  const name = `out/${scenario.output}`;
  const [fresh, old] = [below(baseline.left, name), below(baseline.before, name)];
  const kills: Kill[] = [];
  const failures: string[] = [];
  const expectWhole = (): Kill['output'] => {
    const now = below(snapshot(box), name);
    const mayBeGone = !scenario.old || scenario.env?.FAULT_NO_EXCHANGE;
    if (now.size === 0 && mayBeGone) return 'none';
    if (difference(now, fresh) === '') return 'new';
    if (scenario.old && difference(now, old) === '') return 'old';
    failures.push(`the output is neither old nor new: ${difference(now, fresh)}`);
    return 'none';
  };
  // A run whose output is there already, and may not be replaced, has nothing more to do.
  const isDone = (output: Kill['output']) => !scenario.old && output === 'new';
  let done = false;
  for (const [round, moment] of moments.entries()) {
    const env =
      moment.kind === 'time' ? environment(places) : environment(places, moment.at, moment.does);
    const child = start(places, scenario, env);
    const end = ended(child);
    if (moment.kind === 'time') {
      await Promise.race([sleep(moment.seconds * 1000), end]);
      if (child.exitCode === null && child.signalCode === null) killTree(child.pid as number);
    }
    const { code, stderr } = await end;
    if (code !== null) {
      if (code !== 0) failures.push(`exit ${code}: ${stderr}`);
      done = true;
      break;
    }
    const output = expectWhole();
    kills.push({ moment: moment.kind, round, hit: what(box, callsOf(places).at(-1)), output });
    if (isDone(output)) {
      done = true;
      break;
    }
  }
  if (!done) {
    const { code, stderr } = await ended(start(places, scenario, environment(places)));
    if (code !== 0) failures.push(`the run that goes on: exit ${code}: ${stderr}`);
  }
  const unlike = difference(snapshot(box), baseline.left);
  if (unlike) failures.push(`afterwards: ${unlike}`);
  return { kills, failures };
}

/** Moments of a cycle: one, and sometimes one or two more that hit the run that goes on. */
export function drawMoments(baseline: Baseline, random: () => number): Moment[] {
  const rounds = random() < 0.7 ? 1 : random() < 0.7 ? 2 : 3;
  return Array.from({ length: rounds }, () => {
    const does = random() < 0.5 ? 'before' : 'after';
    const share = random();
    return random() < 0.5
      ? { kind: 'time', seconds: share * baseline.seconds * 1.1 }
      : { kind: 'call', at: 1 + Math.floor(share * baseline.calls.length), does };
  });
}

/** Size in bytes of all files below a folder. */
export const sizeOf = (folder: string): number =>
  readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((e) => e.isFile())
    .reduce((sum, e) => sum + statSync(join(e.parentPath ?? e.path, e.name)).size, 0);
