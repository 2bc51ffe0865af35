import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { beforeAll } from 'vitest';
import { root } from '../helpers/cli.js';

/**
 * The GPU library's own sources with this processor as the device (test/emulator), built by CMake, which takes a minute
 * where .ci/run has not done it before: for tests that only it runs.
 */
export function useEmulatedDevice(): { library: string } {
  const build = join(root, 'build-native');
  const library = join(build, 'libstockpot-emulated.so');
  beforeAll(() => {
    const cmake = (...args: string[]) =>
      execFileSync('cmake', args, { cwd: root, stdio: 'ignore' });
    cmake('-S', '.', '-B', build, '-DSTOCKPOT_NODE=OFF');
    cmake('--build', build, '--target', 'stockpot-emulated', '--parallel', '2');
    process.env.STOCKPOT_CUDA_LIBRARY = library;
  }, 1_200_000);
  return { library };
}
