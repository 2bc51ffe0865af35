import { type ChildProcess, type SpawnOptions, spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { expect } from 'vitest';

export const root = fileURLToPath(new URL('../../', import.meta.url));
const program = fileURLToPath(new URL('../../dist/cli.js', import.meta.url));

export interface Finished {
  code: number | null;
  signal: NodeJS.Signals | null;
  stdout: string;
  stderr: string;
}

/** Collects what a child process says until it ends. */
export function finished(child: ChildProcess): Promise<Finished> {
  let stdout = '';
  let stderr = '';
  child.stdout?.setEncoding('utf8').on('data', (text) => {
    stdout += text;
  });
  child.stderr?.setEncoding('utf8').on('data', (text) => {
    stderr += text;
  });
  return new Promise((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (code, signal) => resolve({ code, signal, stdout, stderr }));
  });
}

export const start = (args: readonly string[], options: SpawnOptions = {}): ChildProcess =>
  spawn(process.execPath, [program, ...args], { stdio: ['ignore', 'pipe', 'pipe'], ...options });

/** Runs the command line. */
export const stockpot = (args: readonly string[], options: SpawnOptions = {}): Promise<Finished> =>
  finished(start(args, options));

/** Runs a small module whose `stockpot` is the built library. */
export const startScript = (source: string, options: SpawnOptions = {}): ChildProcess =>
  spawn(
    process.execPath,
    [
      '--input-type=module',
      '-e',
      `import * as stockpot from ${JSON.stringify(new URL('../../dist/index.js', import.meta.url).href)};\n${source}`,
    ],
    { stdio: ['ignore', 'pipe', 'pipe'], ...options },
  );

/** The one JSON object that --json prints; nothing else is on stdout. */
// biome-ignore lint/suspicious/noExplicitAny: tests look into results of every command
export function jsonOf({ stdout }: Finished): any {
  expect(stdout).toMatch(/^\{.*\}\n$/);
  return JSON.parse(stdout);
}

/** Runs with --json and gives the object and the exit code. */
// biome-ignore lint/suspicious/noExplicitAny: as above
export async function json(args: readonly string[]): Promise<{ code: number | null; out: any }> {
  const done = await stockpot([...args, '--json']);
  return { code: done.code, out: jsonOf(done) };
}
