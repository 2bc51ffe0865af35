import { type ChildProcess, spawn } from 'node:child_process';

/** Milliseconds between the request to end and the order to. */
const GRACE = 3000;
/** Milliseconds that output may still come in when the program itself has ended. */
const DRAIN = 500;

/** Groups that run now; ended with this process. */
const running = new Set<number>();

function signalGroup(pid: number, signal: NodeJS.Signals): boolean {
  try {
    process.kill(-pid, signal);
    return true;
  } catch {
    return false; // nobody is left
  }
}

const endAll = () => {
  for (const pid of running) signalGroup(pid, 'SIGKILL');
};

export interface GroupResult {
  code: number | null;
  signal: NodeJS.Signals | null;
  /** Why it was ended, where it was. */
  ended?: 'timeout' | 'aborted' | 'refused';
}

export interface GroupOptions {
  env: NodeJS.ProcessEnv;
  /** Milliseconds; without end by default. */
  timeout?: number;
  signal?: AbortSignal;
  onStdout: (chunk: Buffer) => void;
  onStderr: (chunk: Buffer) => void;
}

/**
 * Runs a command by the shell in a process group of its own. Whatever is left of the group at the end, at the time-out
 * or when the call is aborted is ended too: first asked to, then made to. An exception from `onStdout` ends it as well.
 */
export function runGroup(command: string, options: GroupOptions): Promise<GroupResult> {
  const child = spawn('/bin/sh', ['-c', command], {
    detached: true,
    stdio: ['ignore', 'pipe', 'pipe'],
    env: options.env,
  });
  return new Promise((resolve, reject) => {
    const { pid } = child;
    if (pid === undefined) {
      child.once('error', reject);
      return;
    }
    if (running.size === 0) process.on('exit', endAll);
    running.add(pid);
    let ended: GroupResult['ended'];
    let grace: NodeJS.Timeout | undefined;
    const end = (why: GroupResult['ended']) => {
      if (ended) return;
      ended = why;
      signalGroup(pid, 'SIGTERM');
      grace = setTimeout(() => signalGroup(pid, 'SIGKILL'), GRACE);
    };
    const abort = () => end('aborted');
    const timer = options.timeout && setTimeout(() => end('timeout'), options.timeout);
    options.signal?.addEventListener('abort', abort, { once: true });
    if (options.signal?.aborted) abort();
    listen(child, options, () => end('refused'));
    const done = (code: number | null, signal: NodeJS.Signals | null) => {
      if (timer) clearTimeout(timer);
      clearTimeout(grace);
      options.signal?.removeEventListener('abort', abort);
      signalGroup(pid, 'SIGKILL');
      running.delete(pid);
      if (running.size === 0) process.off('exit', endAll);
      child.stdout?.destroy();
      child.stderr?.destroy();
      resolve({ code, signal, ended });
    };
    let over = false;
    child.once('exit', (code, signal) => {
      // A process in the background may hold the output open for ever.
      const drain = setTimeout(() => finish(), DRAIN);
      const finish = () => {
        clearTimeout(drain);
        if (over) return;
        over = true;
        done(code, signal);
      };
      child.once('close', finish);
    });
  });
}

function listen(child: ChildProcess, options: GroupOptions, refuse: () => void): void {
  child.stdout?.on('data', (chunk: Buffer) => {
    try {
      options.onStdout(chunk);
    } catch {
      refuse();
    }
  });
  child.stderr?.on('data', options.onStderr);
}
