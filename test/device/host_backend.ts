import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll } from 'vitest';
import { root } from '../helpers/cli.js';

/**
 * Compiles a backend library whose device is this processor (test/native/support/host_backend.cc) and gives the
 * environment in which stockpot finds it; `pretends` is what it shall pretend.
 */
export function useHostBackend() {
  const folder = mkdtempSync(join(tmpdir(), 'stockpot-backend-'));
  const library = join(folder, 'libstockpot-cuda.so');
  beforeAll(() => {
    execFileSync(
      'c++',
      [
        ...'-std=c++17 -O1 -shared -fPIC -fvisibility=hidden -ffp-contract=off -pthread'.split(' '),
        join(root, 'test/native/support/host_backend.cc'),
        join(root, 'native/kernels/cuda/plan.cc'),
        '-o',
        library,
      ],
      { stdio: 'inherit' },
    );
  });
  afterAll(() => rmSync(folder, { recursive: true, force: true }));
  return {
    library,
    env: (pretends = ''): NodeJS.ProcessEnv => ({
      ...process.env,
      STOCKPOT_CUDA_LIBRARY: library,
      STOCKPOT_TEST_BACKEND: pretends,
    }),
  };
}
